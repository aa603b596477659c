"""The stores in one PostgreSQL database: opening, closing, and what is found after a restart."""

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence

import pytest

from danqing.core.errors import StorageFailure, TooManyJobs
from danqing.core.shared_store import Node
from danqing.core.states import JobState
from danqing.core.types import Job
from danqing.store.lanes import Lanes
from danqing.store.postgres import PostgresStores
from tests.contracts.job_store import generated, processing
from tests.fakes.domain import LOST, NO_LIMIT, NOW, a_job, an_original, later
from tests.unit.store.postgres.asking import ask
from tests.zoo.house import until

WAIT_S = 30.0


async def test_a_restart_finds_everything_as_it_was(url: str, stores: PostgresStores) -> None:
    # Given jobs in every unfinished state and one that is done, batches, one of them forgotten, and a subscription
    jobs = stores.jobs
    waiting = await jobs.add(a_job(priority=2, batch_id="b", metadata={"a": [1]}), NO_LIMIT, batch_size=2)
    running, making_more = await processing(jobs, batch_id="b", batch_index=4), await generated(jobs)
    done, lost = await processing(jobs), await processing(jobs)
    done = await jobs.complete(done.id, 1, [an_original(done)], ["scaled"], later())
    lost = await jobs.give_back(lost.id, 1, LOST, later())
    assert done is not None
    assert lost is not None
    await stores.batches.forget(making_more.batch_id, "local")
    await stores.subscriptions.add("local", "c", done.id)
    counts, history = dict(await jobs.counts()), await stores.batches.batches(None, limit=9, offset=0)
    # When another process opens the database, then all is the same, and the next sequence is a new one
    again = await asyncio.to_thread(PostgresStores.open, url)
    assert await again.jobs.get(done.id) == done
    assert await again.jobs.unfinished() == [waiting, running, making_more, lost]
    assert dict(await again.jobs.counts()) == counts
    assert await again.batches.batches(None, limit=9, offset=0) == history
    assert [batch.size for batch in history] == [1, 1, 2]
    assert await again.subscriptions.jobs("local", "c", ended=9) == [done]
    assert (await again.jobs.add(a_job(), NO_LIMIT)).sequence > lost.sequence
    await again.close()


async def test_closing_twice_is_fine_and_later_calls_fail(stores: PostgresStores) -> None:
    job = await stores.jobs.add(a_job(), NO_LIMIT)
    await stores.close()
    await stores.close()
    for call in (
        stores.jobs.get(job.id),
        stores.jobs.add(a_job(), NO_LIMIT),
        stores.jobs.cancel(job.id, later()),
        stores.batches.forget(job.batch_id, None),
        stores.subscriptions.add("local", "c", job.id),
        stores.line.claim("tiny", "w", later()),
        stores.nodes.alive(),
    ):
        with pytest.raises(StorageFailure):
            await call


async def test_closing_finishes_the_calls_under_way(url: str) -> None:
    first = await asyncio.to_thread(PostgresStores.open, url)
    adds = [asyncio.ensure_future(first.jobs.add(a_job(owner="ab"[n % 2]), NO_LIMIT)) for n in range(50)]
    await asyncio.sleep(0)
    await first.close()
    added = await asyncio.gather(*adds)
    assert {job_id for (job_id,) in ask(url, "SELECT id FROM jobs")} == {job.id for job in added}
    left = "SELECT pid FROM pg_stat_activity WHERE application_name = 'danqing' AND datname = current_database()"
    await until(lambda: ask(url, left) == [], "connections that are gone")


async def test_a_cancelled_caller_leaves_the_store_working(stores: PostgresStores) -> None:
    task = asyncio.ensure_future(stores.jobs.add(a_job(), NO_LIMIT))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    job = await stores.jobs.add(a_job(), NO_LIMIT)
    assert await stores.jobs.get(job.id) == job
    assert (await stores.jobs.counts())[JobState.PENDING] == len(await stores.jobs.unfinished())


async def test_what_is_not_promised_is_not_synced(url: str, stores: PostgresStores) -> None:
    # Given the setting by which each transaction is committed, noted by the database itself
    ask(url, "CREATE TABLE told (setting text)")
    ask(
        url,
        "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO told VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$",
    )
    for table in ("jobs", "nodes"):
        ask(
            url,
            f"CREATE CONSTRAINT TRIGGER tells AFTER INSERT OR UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION tell()",
        )
    # Then an add, a claim and a completion wait for the disk, and a beat does not
    job = await stores.jobs.add(a_job(), NO_LIMIT)
    await stores.jobs.claim(job.id, "w", later())
    await stores.nodes.beat(Node(id="a", name="a", started_at=NOW), lease_s=9)
    await stores.jobs.complete(job.id, 1, [], [], later())
    assert ask(url, "SELECT setting FROM told") == [("on",), ("on",), ("off",), ("on",)]


# Lanes


def test_a_lane_keeps_its_order_and_takes_one_thread() -> None:
    # Given two threads, and a lane whose first call does not end
    go, ran, done = threading.Event(), list[Sequence[int]](), threading.Event()

    def run(calls: Sequence[int]) -> None:
        if calls == [0]:
            assert go.wait(WAIT_S)
        ran.append(calls)
        if calls == [-1]:
            done.set()

    lanes = Lanes[int](2, "test", run)
    for number in range(40):
        lanes.submit("a", number)
    # Then other calls are run all the same
    lanes.submit("b", -1)
    assert done.wait(WAIT_S)
    assert ran == [[-1]]
    # And the lane's own in order, those that wait together, also when it is closed meanwhile
    closing = threading.Thread(target=lanes.close)
    closing.start()
    go.set()
    closing.join(WAIT_S)
    assert ran == [[-1], [0], list(range(1, 33)), list(range(33, 40))]
    with pytest.raises(RuntimeError):
        lanes.submit("a", 0)


async def test_adds_of_one_owner_that_meet_share_a_transaction(url: str, stores: PostgresStores) -> None:
    # Given jobs of one owner that are all added at once
    added = await asyncio.gather(*(stores.jobs.add(a_job(), NO_LIMIT) for _ in range(30)))
    # Then they are stored in few transactions, in the order in which they came
    assert len({*ask(url, "SELECT xmin FROM jobs")}) <= 15
    assert [job.sequence for job in added] == sorted(job.sequence for job in added)
    # And so many are as there is room for, exactly
    answers = await asyncio.gather(
        *(stores.jobs.add(a_job(), NO_LIMIT, max_of_owner=40) for _ in range(30)), return_exceptions=True
    )
    assert Counter(type(answer) for answer in answers) == {Job: 10, TooManyJobs: 20}
    assert ask(url, "SELECT count(*) FROM jobs") == [(40,)]


async def test_what_is_wrong_with_one_add_is_nothing_to_those_that_it_meets(url: str, stores: PostgresStores) -> None:
    # Given adds at once of which every fifth cannot be stored, and one whose caller goes away
    jobs = [a_job(priority=2**80 if number % 5 == 4 else 0) for number in range(20)]
    adds = [asyncio.ensure_future(stores.jobs.add(job, NO_LIMIT)) for job in jobs]
    await asyncio.sleep(0)
    adds[12].cancel()
    answers = await asyncio.gather(*adds, return_exceptions=True)
    # Then all others are, and each caller is told of his own
    failed = [number for number, answer in enumerate(answers) if isinstance(answer, StorageFailure)]
    assert failed == [4, 9, 14, 19]
    stored = [answer.id for answer in answers if isinstance(answer, Job)]
    there = [job_id for (job_id,) in ask(url, "SELECT id FROM jobs ORDER BY sequence")]
    assert [job_id for job_id in there if job_id != jobs[12].id] == stored
    assert len(stored) == 15


@pytest.mark.parametrize("lane", [None, "one"])
async def test_a_commit_that_cannot_be_counted_is_told_to_its_caller_alone(
    stores: PostgresStores, lane: str | None
) -> None:
    def broken(_: int) -> None:
        raise RuntimeError

    # Given calls, of one lane or of none, the second of which is committed and not told of it
    told: list[int] = []
    calls = [
        stores.database.submit(lambda _, number=number: number, durable=True, on_commit=on_commit, lane=lane)
        for number, on_commit in enumerate((told.append, broken, told.append))
    ]
    # Then it fails as the store does, and the others do not
    assert (calls[0].result(WAIT_S), calls[2].result(WAIT_S)) == (0, 2)
    assert isinstance(calls[1].exception(WAIT_S), StorageFailure)
    assert sorted(told) == [0, 2]
