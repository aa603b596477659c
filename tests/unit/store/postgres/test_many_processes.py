"""Many who write to one database at once: what was exact for one is exact for all. Some are real processes."""

import asyncio
import itertools
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import structlog
from sqlalchemy import Connection, Engine, Select, literal_column, select

from danqing.core.batches import MAX_BATCH_JOBS
from danqing.core.clock import utc_now
from danqing.core.errors import BatchFull, DataDirectoryInUse, QueueFull, TooManyJobs
from danqing.core.issued_keys import KeyRing
from danqing.core.states import JobState
from danqing.core.submitting import Join, SubmitKey
from danqing.core.types import Job
from danqing.store import advisory_locks, line_claims
from danqing.store.advisory_locks import ALL_OWNERS, key_of
from danqing.store.many_writers import ENTER, FULL_SOON
from danqing.store.postgres import PostgresStores
from danqing.store.postgres_connections import Patience
from danqing.store.tries import once
from danqing.store.unread_jobs import UnreadJobs
from tests.contracts.job_store import processing
from tests.fakes.domain import LOST, NO_LIMIT, a_job, an_original, later
from tests.unit.store.postgres import taking_process
from tests.unit.store.postgres.asking import ask

ROOT = Path(__file__).parents[4]
KEY = SubmitKey(text="a key", digest="0" * 64)
WAIT_S = 60.0
WAITING_FOR_LOCKS = (
    "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@pytest_asyncio.fixture
async def several(url: str) -> AsyncIterator[list[PostgresStores]]:
    """Stores as those of several processes: nothing in common but the database."""
    several = [await asyncio.to_thread(PostgresStores.open, url) for _ in range(3)]
    yield several
    await asyncio.gather(*(stores.close() for stores in several))


# Adding


async def test_of_adds_from_everywhere_as_many_are_taken_as_there_is_room(several: list[PostgresStores]) -> None:
    # Given room for ten
    adds = [stores.jobs.add(a_job(owner=f"{n}"), 10) for n in range(8) for stores in several]
    # When several processes add for many owners at once, then exactly ten are taken
    answers = await asyncio.gather(*adds, return_exceptions=True)
    assert Counter(type(answer) for answer in answers) == {Job: 10, QueueFull: 14}
    # And whoever leaves makes room for one, wherever
    (first, *_) = await several[0].jobs.unfinished()
    await several[1].jobs.cancel(first.id, later())
    assert await several[2].jobs.add(a_job(), 10)
    with pytest.raises(QueueFull):
        await several[0].jobs.add(a_job(), 10)


async def test_far_from_the_limit_owners_do_not_wait_for_each_other(several: list[PostgresStores]) -> None:
    # Given an owner's add that is under way, and holds what it has locked
    first, second, _ = several
    most = FULL_SOON + 10
    await first.jobs.add(a_job(owner="a"), most)
    with second.database.engine.connect() as connection, connection.begin():
        second.jobs._books.enter(connection, "a")  # pyright: ignore[reportPrivateUsage]
        # Then another's is not held up
        assert await first.jobs.add(a_job(owner="b"), most)
    # And near the limit, where they do, the count is exact
    assert await second.jobs.add(a_job(), 3)
    with pytest.raises(QueueFull):
        await first.jobs.add(a_job(), 3)


async def test_a_process_that_stands_still_while_it_adds_fails_nobody_elses_add(url: str) -> None:
    # Given two processes, five times less patient than usual
    usual = Patience()
    patience = replace(usual, lock_s=usual.lock_s / 5, idle_s=usual.idle_s / 5)
    frozen, other = [await asyncio.to_thread(PostgresStores.open, url, patience=patience) for _ in range(2)]
    with frozen.database.engine.connect() as connection:
        # When one is frozen while it adds near the limit, where all wait for each other
        connection.execute(ENTER, {"key": key_of(*ALL_OWNERS)})
        # Then the other's add is held up, and done
        assert await other.jobs.add(a_job(), 10)
        connection.invalidate()
    await asyncio.gather(frozen.close(), other.close())


async def test_an_owner_has_no_more_waiting_than_he_may_from_wherever_they_come(several: list[PostgresStores]) -> None:
    adds = [
        stores.jobs.add(a_job(owner=owner), NO_LIMIT, max_of_owner=4)
        for _ in range(3)
        for owner in "ab"
        for stores in several
    ]
    answers = await asyncio.gather(*adds, return_exceptions=True)
    assert Counter(type(answer) for answer in answers) == {Job: 8, TooManyJobs: 10}
    assert Counter(job.owner for job in await several[0].jobs.unfinished()) == {"a": 4, "b": 4}


async def test_a_batch_takes_no_more_than_it_has_room_for_from_wherever_they_come(
    several: list[PostgresStores],
) -> None:
    most = MAX_BATCH_JOBS - 4
    await several[0].jobs.add_all([a_job(batch_id="b") for _ in range(most)], NO_LIMIT, batch_sizes=[1] * most)
    adds = [stores.jobs.add(a_job(batch_id="b"), NO_LIMIT) for _ in range(4) for stores in several]
    answers = await asyncio.gather(*adds, return_exceptions=True)
    assert Counter(type(answer) for answer in answers) == {Job: 4, BatchFull: 8}
    assert len((await several[1].batches.batch("b", "local")).jobs) == MAX_BATCH_JOBS


async def test_equal_jobs_from_everywhere_are_one(several: list[PostgresStores]) -> None:
    adds = [stores.jobs.add(a_job(fingerprint="a"), NO_LIMIT, join=Join.ALSO_DONE) for stores in several * 4]
    answers = await asyncio.gather(*adds)
    assert len({answer.id for answer in answers}) == 1
    assert len(await several[0].jobs.unfinished()) == 1


async def test_submits_under_one_key_are_one_from_wherever_they_come(several: list[PostgresStores]) -> None:
    adds = [stores.jobs.add_all([a_job(), a_job()], NO_LIMIT, batch_sizes=[2, 2], key=KEY) for stores in several * 3]
    answers = await asyncio.gather(*adds)
    assert len({tuple(job.id for job in answer) for answer in answers}) == 1
    assert len(await several[0].jobs.unfinished()) == 2


async def test_a_batch_is_one_from_wherever_its_jobs_come(several: list[PostgresStores]) -> None:
    adds = [
        stores.jobs.add(a_job(batch_id="b", batch_index=index), NO_LIMIT, batch_size=2)
        for index, stores in enumerate(several * 4)
    ]
    added = await asyncio.gather(*adds)
    batch = await several[0].batches.batch("b", "local")
    assert (batch.size, {job.id for job in batch.jobs}) == (12, {job.id for job in added})
    assert [job.batch_index for job in batch.jobs] == list(range(12))
    # And of an owner's jobs each has a turn of its own, which grows as they are accepted
    turns = [job.turn for job in sorted(added, key=lambda job: job.sequence)]
    assert turns == sorted(set(turns))


async def test_a_subscription_made_at_once_everywhere_is_one(several: list[PostgresStores]) -> None:
    job = await several[0].jobs.add(a_job(), NO_LIMIT)
    await asyncio.gather(*(stores.subscriptions.add("local", "c", job.id) for stores in several * 5))
    assert await several[0].subscriptions.jobs("local", "c", ended=9) == [job]


# Moves


async def test_of_moves_from_everywhere_one_wins(several: list[PostgresStores]) -> None:
    # Given jobs that run
    for _ in range(10):
        job = await processing(several[0].jobs)
        first, second, third = several
        # When they are completed, cancelled and given back at once
        moves = [
            first.jobs.complete(job.id, 1, [an_original(job)], ["made"], later()),
            second.jobs.cancel(job.id, later()),
            third.jobs.give_back(job.id, 1, LOST, later()),
            third.jobs.fail(job.id, 1, LOST, later()),
        ]
        answers = [answer for answer in await asyncio.gather(*moves) if answer is not None]
        # Then what one did was done, and a job that was given back may have been cancelled after that
        now = await first.jobs.get(job.id)
        assert now in answers
        states = {answer.state for answer in answers}
        assert len(states) == 1 or states == {JobState.PENDING, JobState.CANCELLED}
        assert (now.attempts[0].ended_at, len(now.attempts)) == (now.attempts[0].ended_at, 1)
        assert (now.artifacts != ()) == (now.state is JobState.COMPLETED) == (now.adjustments == ("made",))


async def test_a_cancel_that_meets_a_claim_is_not_lost(several: list[PostgresStores]) -> None:
    for _ in range(20):
        job = await several[0].jobs.add(a_job(), NO_LIMIT)
        claimed, cancelled = await asyncio.gather(
            several[1].jobs.claim(job.id, "w", later()), several[2].jobs.cancel(job.id, later())
        )
        # Whoever was first: it is cancelled
        assert cancelled is not None
        assert len(cancelled.attempts) == (claimed is not None)
        assert await several[0].jobs.get(job.id) == cancelled


async def test_jobs_that_are_removed_by_two_leave_their_batch_once(several: list[PostgresStores]) -> None:
    # Given a batch of three jobs, two of which have ended
    jobs = [await several[0].jobs.add(a_job(batch_id="b"), NO_LIMIT, batch_size=3) for _ in range(3)]
    for job in jobs[:2]:
        await several[0].jobs.cancel(job.id, later())
    # When they are removed from everywhere at once
    ids = [job.id for job in jobs[:2]]
    removed = await asyncio.gather(*(stores.kept.remove(ids) for stores in several))
    # Then each was removed once
    assert sum(removed) == 2
    batch = await several[0].batches.batch("b", None)
    assert (batch.size, batch.jobs) == (1, (jobs[2],))


async def test_figures_are_those_of_all(several: list[PostgresStores]) -> None:
    # Given figures that have been asked for
    first, second, _ = several
    await first.jobs.counts()
    running, ended = await processing(second.jobs), await processing(second.jobs)
    await second.jobs.complete(ended.id, 1, [], [], later())
    # Then those of unfinished jobs are exact everywhere, and those of ended ones where they ended
    assert (await first.jobs.counts())[JobState.PROCESSING] == 1
    assert (await second.jobs.counts())[JobState.COMPLETED] == 1
    await first.jobs.cancel(running.id, later())
    assert (await first.jobs.counts())[JobState.CANCELLED] == 1
    # And everywhere before long
    until = time.monotonic() + WAIT_S
    for jobs, state in ((first.jobs, JobState.COMPLETED), (second.jobs, JobState.CANCELLED)):
        while (await jobs.counts())[state] != 1:
            assert time.monotonic() < until


async def test_while_ended_jobs_cannot_be_counted_the_figures_are_those_from_before(
    url: str, several: list[PostgresStores], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given figures that were counted once, and from now on as often as they are asked for, which fails
    first, second, third = several
    ended = await processing(first.jobs)
    await first.jobs.complete(ended.id, 1, [], [], later())
    assert (await first.jobs.counts())[JobState.COMPLETED] == 1
    monkeypatch.setattr("danqing.store.many_writers.ENDED_COUNT_S", 0.0)
    monkeypatch.setattr("danqing.store.many_writers.PART_OF_TIME", 0)
    monkeypatch.setattr("danqing.store.many_writers.COUNT_ENDED", select(literal_column("1/0"), literal_column("1")))
    until = time.monotonic() + WAIT_S
    with structlog.testing.capture_logs() as lines:
        # Then they are told all the same, with what this process has ended since
        while not lines:
            assert (await first.jobs.counts())[JobState.COMPLETED] == 1
            assert time.monotonic() < until
        assert "ended_jobs_not_counted" in {line["event"] for line in lines}
        another = await processing(first.jobs)
        await first.jobs.complete(another.id, 1, [], [], later())
        assert (await first.jobs.counts())[JobState.COMPLETED] == 2
    # And a process that never could count them tells what PostgreSQL believes, and what has not ended it knows
    waiting = await first.jobs.add(a_job(), NO_LIMIT)
    assert await second.jobs.counts() == {state: int(state is JobState.PENDING) for state in JobState}
    await first.jobs.cancel(waiting.id, later())
    for _ in range(3):
        await first.jobs.fail((await processing(first.jobs)).id, 1, LOST, later())
    await first.jobs.cancel((await processing(first.jobs)).id, later())
    ask(url, "ANALYZE jobs")
    known = {JobState.COMPLETED: 2, JobState.FAILED: 3, JobState.CANCELLED: 2}
    assert await third.jobs.counts() == {state: known.get(state, 0) for state in JobState}


async def test_an_owner_has_no_more_running_than_he_may_whoever_claims(url: str) -> None:
    # Given processes that know of a limit of two, and owners with jobs in line
    several = [await asyncio.to_thread(PostgresStores.open, url, max_running_of_owner=2) for _ in range(3)]
    jobs = [await several[0].jobs.add(a_job(owner="ab"[n % 2]), NO_LIMIT) for n in range(20)]
    # When all claim all at once, then each owner has two running
    claims = await asyncio.gather(*(stores.jobs.claim(job.id, "w", later()) for job in jobs for stores in several))
    running = [job for job in claims if job is not None]
    assert Counter(job.owner for job in running) == {"a": 2, "b": 2}
    assert await several[0].jobs.claim("nobody", "w", later()) is None
    # And whose job ends may have another one
    ended, *_ = [job for job in running if job.owner == "a"]
    await several[1].jobs.fail(ended.id, 1, LOST, later())
    claimed = [await stores.line.claim("tiny", "w", later(), max_running_of_owner=2) for stores in several]
    assert [None if job is None else job.owner for job in claimed] == ["a", None, None]
    await asyncio.gather(*(stores.close() for stores in several))


async def test_a_claim_whose_commit_is_in_doubt_is_waited_for_and_no_second_job_is_claimed(
    url: str, several: list[PostgresStores]
) -> None:
    # Given two jobs, and a worker whose claim the server is just committing, though the connection is lost
    jobs = [await several[0].jobs.add(a_job(), NO_LIMIT) for _ in range(2)]
    now, unread = later(), UnreadJobs()
    claim = partial(line_claims.claim_next, model="tiny", worker="w", now=now, max_running=None, unread=unread)
    proof = partial(line_claims.claimed, worker="w", at=now)

    def try_again() -> object:
        with several[1].database.engine.connect() as connection, connection.begin():
            return once(connection, claim, proof)

    with several[0].database.engine.connect() as lost, lost.begin():
        assert isinstance(first := claim(lost), Job)
        # When he tries again, and asks what became of it
        again = asyncio.ensure_future(asyncio.to_thread(try_again))
        asked = asyncio.ensure_future(several[2].line.claimed("w", now))
        until = time.monotonic() + WAIT_S
        while not (again.done() or asked.done()) and await asyncio.to_thread(ask, url, WAITING_FOR_LOCKS) != [(2,)]:
            assert time.monotonic() < until
        # Then others do not wait for him
        other = await several[0].line.claim("tiny", "another", now)
        assert other is not None
        assert other.id == jobs[1].id
    # And he is told of the one, once it is there
    assert first.id == jobs[0].id
    assert await again == await asked == await several[0].jobs.get(first.id)


# Processes


async def test_processes_that_take_and_one_that_dies_make_each_job_once(url: str, stores: PostgresStores) -> None:
    # Given jobs of several owners, and three processes that take them, one of which will be killed
    jobs = [await stores.jobs.add(a_job(owner="abc"[n % 3]), NO_LIMIT) for n in range(120)]
    command = [sys.executable, "-m", taking_process.__name__, url]
    first = await asyncio.create_subprocess_exec(*command, "node-3", "die", cwd=ROOT, stdout=subprocess.PIPE)
    assert first.stdout is not None
    outputs = [(await first.stdout.readline()).decode()]  # it is at work before the others can have made all
    others = [
        await asyncio.create_subprocess_exec(*command, name, cwd=ROOT, stdout=subprocess.PIPE)
        for name in ("node-1", "node-2")
    ]
    outputs += [(await process.communicate())[0].decode() for process in (first, *others)]
    assert [process.returncode for process in (first, *others)] == [-9, 0, 0]
    # Then what it held is seen, once its lease is over
    assert await stores.nodes.orphans() == []
    ask(url, "UPDATE nodes SET lease_until = now() WHERE id = 'node-3'")
    orphans = await stores.nodes.orphans()
    assert 1 <= len(orphans) <= 3
    assert await stores.nodes.held("node-3") == {job.id: 1 for job in orphans}
    # And given back, it is made by another
    for job in orphans:
        assert await stores.jobs.give_back(job.id, 1, LOST, later())
    last = await asyncio.create_subprocess_exec(*command, "node-4", cwd=ROOT, stdout=subprocess.PIPE)
    outputs.append((await last.communicate())[0].decode())
    made = Counter(itertools.chain.from_iterable(output.split() for output in outputs))
    assert set(made.values()) == {1}
    # And each is made; of what it had just stored when it died, that one could not say so any more
    for unsaid in {job.id for job in jobs} - set(made):
        (attempt,) = (await stores.jobs.get(unsaid)).attempts
        assert attempt.worker.startswith("node-3")
    assert dict(await stores.jobs.counts())[JobState.COMPLETED] == len(jobs)


# What they share


async def test_all_have_one_secret(several: list[PostgresStores]) -> None:
    secrets = await asyncio.gather(*(stores.secret() for stores in several * 3))
    assert len(set(secrets)) == 1
    assert len(secrets[0]) == 32


@pytest.mark.parametrize("cancels", [1, 2])
async def test_a_lock_whose_taker_is_cancelled_is_free(
    cancels: int, several: list[PostgresStores], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given somebody who is cancelled just when the database has given him the lock
    first, second, _ = several
    entered, told, enter = threading.Event(), threading.Event(), advisory_locks._enter

    def enter_late(engine: Engine, statement: Select[Any], key: int) -> Connection | None:
        connection = enter(engine, statement, key)
        entered.set()
        told.wait(20)
        return connection

    async def hold() -> None:
        async with first.exclusive("sweeper"):
            pass

    monkeypatch.setattr(advisory_locks, "_enter", enter_late)
    holding = asyncio.create_task(hold())
    await asyncio.to_thread(entered.wait)
    for _ in range(cancels):
        holding.cancel()
        await asyncio.sleep(0)
    told.set()
    await asyncio.wait([holding])
    # Then others get it
    monkeypatch.undo()
    async with second.exclusive("sweeper") as is_in:
        assert is_in


async def test_one_of_all_is_exclusive(several: list[PostgresStores]) -> None:
    first, second, third = several
    async with first.exclusive("sweeper") as is_in:
        assert is_in
        async with second.exclusive("sweeper") as also, third.exclusive("another") as is_other:
            assert (also, is_other) == (False, True)
        # Nor is it free for the same process
        async with first.exclusive("sweeper") as again:
            assert not again
    async with second.exclusive("sweeper") as is_free:
        assert is_free


async def test_a_lock_that_outlasts_its_stores_leaves_no_connection(url: str) -> None:
    stores = await asyncio.to_thread(PostgresStores.open, url)
    async with stores.exclusive("sweeper") as is_in:
        assert is_in
        await stores.close()
    until = time.monotonic() + WAIT_S
    while ask(url, "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"):
        assert time.monotonic() < until  # the server hears of it soon


async def test_an_exclusive_one_whose_connection_is_gone_frees_the_place(
    url: str, several: list[PostgresStores]
) -> None:
    async with several[0].exclusive("sweeper") as is_in:
        assert is_in
        ask(url, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        async with asyncio.timeout(WAIT_S):
            while True:
                async with several[1].exclusive("sweeper") as is_free:
                    if is_free:
                        break


async def test_an_exclusive_one_that_stands_still_frees_the_place(
    several: list[PostgresStores], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given one that says nothing to the server, as if it were frozen
    monkeypatch.setattr("danqing.store.advisory_locks.SILENT_S", 0.1)
    async with several[0].exclusive("sweeper") as is_in:
        assert is_in
        # Then the place is free soon
        async with asyncio.timeout(WAIT_S):
            while True:
                async with several[1].exclusive("sweeper") as is_free:
                    if is_free:
                        break
    # And the first one works on, and may have it again
    async with several[0].exclusive("sweeper") as again:
        assert again


async def test_one_that_works_for_long_keeps_the_place_and_ordinary_connections_are_not_ended(
    url: str, several: list[PostgresStores], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given one that is in, and tells the server again and again that it lives
    monkeypatch.setattr("danqing.store.advisory_locks.LOOK_AGAIN_S", 0.01)
    holder = "SELECT pid FROM pg_locks WHERE locktype = 'advisory'"
    said = f"SELECT state_change FROM pg_stat_activity WHERE pid = ({holder})"
    async with several[0].exclusive("janitor") as is_in:
        assert is_in
        (before,) = ask(url, said)
        until = time.monotonic() + WAIT_S
        while await asyncio.to_thread(ask, url, said) == [before]:
            assert time.monotonic() < until
    # When it has left, then its connection may be as silent as any
    with several[0].database.engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW idle_session_timeout").scalar_one() == "0"
        assert connection.exec_driver_sql("SHOW tcp_user_timeout").scalar_one() in ("20000", "0")  # 0: no TCP


async def test_a_server_alone_is_the_only_one(several: list[PostgresStores]) -> None:
    first, second, third = several
    async with first.hold(alone=True):
        for alone in (True, False):
            with pytest.raises(DataDirectoryInUse):
                await second.hold(alone=alone).__aenter__()
        waiting = asyncio.ensure_future(third.hold(alone=False, wait_s=WAIT_S).__aenter__())
        await asyncio.sleep(0)
    await waiting
    # And those who share let none be alone
    async with second.hold(alone=False):
        with pytest.raises(DataDirectoryInUse):
            await first.hold(alone=True).__aenter__()


async def test_a_server_that_lost_its_connection_holds_the_database_again(
    url: str, several: list[PostgresStores], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("danqing.store.advisory_locks.LOOK_AGAIN_S", 0.01)
    held = "SELECT pid FROM pg_locks WHERE locktype = 'advisory'"
    async with several[0].hold(alone=True):
        ((before,),) = ask(url, held)
        ask(url, "SELECT pg_terminate_backend(%s)", before)
        until = time.monotonic() + WAIT_S
        while not (now := await asyncio.to_thread(ask, url, held)) or now == [(before,)]:
            assert time.monotonic() < until
        with pytest.raises(DataDirectoryInUse):
            await several[1].hold(alone=True).__aenter__()


# Keys


async def test_a_key_that_one_process_issues_or_revokes_is_soon_known_to_all(several: list[PostgresStores]) -> None:
    # Given two processes that look again and again
    here, there = (KeyRing(stores.issued_keys, clock=utc_now) for stores in several[:2])

    async def until(is_known: bool, digest: bytes) -> None:
        async with asyncio.timeout(WAIT_S):
            while there.holds(digest) != is_known:  # noqa: ASYNC110 - it is not told
                await asyncio.sleep(0.01)

    async with here.kept_fresh(), there.kept_fresh(every_s=0.01):
        # When one issues a key, and revokes it, then the other lets its bearer in, and no more
        key, _ = await here.issue("Anne")
        await until(True, bytes.fromhex(key.digest))
        await here.revoke(key.id)
        await until(False, bytes.fromhex(key.digest))
