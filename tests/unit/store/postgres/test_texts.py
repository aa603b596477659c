"""Whatever clients write is stored as they wrote it, or refused; and how the database's address may be written."""

import pytest
from sqlalchemy import make_url

from danqing.core.errors import JobNotFound, JobUnreadable, StorageAway, StorageFailure
from danqing.store import unread_jobs
from danqing.store.job_line import PostgresJobLine
from danqing.store.postgres import PostgresStores
from danqing.store.postgres_address import postgres_address
from danqing.store.unread_jobs import UnreadJobs
from tests.fakes.domain import LOST, NO_LIMIT, a_job, a_request, later
from tests.unit.store.postgres.asking import ask

ODD = ["\x00", "a\x00b", "\ue000", "\ue0000", "\x00\ue000\x00", "\ue000\ue0000\x00", "\\u0000", "%s %% :x 丹青 🐈\n"]


@pytest.mark.parametrize("text", ODD)
async def test_odd_texts_read_back_as_they_were(stores: PostgresStores, text: str) -> None:
    # Given a job with the text wherever a client can put it
    job = a_job(owner=text, batch_id=text, metadata={text: text}, request=a_request(prompt=text, negative_prompt=text))
    added = await stores.jobs.add(job, NO_LIMIT)
    await stores.subscriptions.add(text, text, job.id)
    # Then it is found by it, and as it was
    assert await stores.jobs.get(job.id) == added
    assert (added.request, added.metadata) == (job.request, job.metadata)
    assert (await stores.batches.batch(text, text)).jobs == (added,)
    assert await stores.batches.owners(text) == [text]
    assert await stores.subscriptions.jobs(text, text, ended=9) == [added]
    # And no other text finds it
    for other in {*ODD} - {text}:
        assert await stores.subscriptions.jobs(other, other, ended=9) == []


@pytest.mark.parametrize("text", ["\ud83d", "a\udc00"])
async def test_half_a_pair_is_refused_alone(stores: PostgresStores, text: str) -> None:
    for job in (a_job(request=a_request(prompt=text)), a_job(metadata={text: 1}), a_job(batch_id=text)):
        with pytest.raises(StorageFailure):
            await stores.jobs.add(job, NO_LIMIT)
    with pytest.raises((JobNotFound, StorageFailure)):
        await stores.jobs.get(text)
    assert await stores.jobs.unfinished() == []


async def test_numbers_that_have_no_place_fail_alone(stores: PostgresStores) -> None:
    for job in (a_job(priority=2**80), a_job(batch_index=2**40), a_job(created_at=later().replace(tzinfo=None))):
        with pytest.raises(StorageFailure):
            await stores.jobs.add(job, NO_LIMIT)
    good = await stores.jobs.add(a_job(), NO_LIMIT)
    assert await stores.jobs.unfinished() == [good]


async def test_a_waiting_job_that_cannot_be_read_is_left_to_who_can(
    url: str, stores: PostgresStores, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given waiting jobs, of which the first has a field that only a newer version knows
    newer, plain = [await stores.jobs.add(a_job(), NO_LIMIT) for _ in range(2)]
    ask(url, "UPDATE jobs SET request = replace(request, '{', '{\"style\":\"ink\",') WHERE id = %s", newer.id)
    as_it_was = ask(url, "SELECT * FROM jobs WHERE id = %s", newer.id)
    again = PostgresStores.open(url)
    # When one who cannot read it claims, by its id or the next of all, then it does not stand in the way
    assert await again.jobs.claim(newer.id, "w", later()) is None
    with pytest.raises(JobUnreadable):
        await again.jobs.get(newer.id)
    claimed = await again.line.claim("tiny", "w", later())
    assert claimed is not None
    assert claimed.id == plain.id
    for _ in range(3):
        assert await again.line.claim("tiny", "w", later(), max_running_of_owner=9) is None
        assert await again.line.first("tiny", 9) == []
    # And stays as it is, of which is told, once
    assert again.line.leaves_some("tiny")
    assert ask(url, "SELECT * FROM jobs WHERE id = %s", newer.id) == as_it_was
    assert ask(url, "SELECT job_id FROM attempts") == [(plain.id,)]
    assert capsys.readouterr().out.count("waiting_job_unreadable") == 1
    # When one who can read it has claimed it, then nothing is left
    ask(url, "UPDATE jobs SET request = replace(request, '\"style\":\"ink\",', '') WHERE id = %s", newer.id)
    claimed = await stores.line.claim("tiny", "w", later())
    assert claimed is not None
    assert (claimed.id, len(claimed.attempts)) == (newer.id, 1)
    assert await again.line.claim("tiny", "w", later()) is None
    assert not again.line.leaves_some("tiny")
    await again.close()


async def test_jobs_that_cannot_be_read_do_not_hold_up_owners_who_may_have_more(
    url: str, stores: PostgresStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given more jobs than are looked at, first those that only a newer version can read, then those of an owner who has
    # enough running, and behind them one of another owner
    monkeypatch.setattr("danqing.store.line_claims.WINDOW", 2)
    newer = [await stores.jobs.add(a_job(owner="new"), NO_LIMIT) for _ in range(3)]
    running, *_ = [await stores.jobs.add(a_job(owner="full"), NO_LIMIT) for _ in range(40)]
    other = await stores.jobs.add(a_job(owner="other"), NO_LIMIT)
    ask(url, "UPDATE jobs SET request = '{}', priority = 1 WHERE owner = 'new'")
    ask(url, "UPDATE jobs SET turn = sequence")
    assert await stores.jobs.claim(running.id, "w", later())
    # When somebody claims, then he gets that one
    claimed = await stores.line.claim("tiny", "w", later(), max_running_of_owner=1)
    assert claimed is not None
    assert claimed.id == other.id
    assert await stores.line.claim("tiny", "w", later(), max_running_of_owner=1) is None
    # And those who send for what waits see beyond them, too
    assert [job.owner for job in await stores.line.first("tiny", len(newer))] == ["full"] * 3
    assert await stores.line.alike(claimed, 2, max_running_of_owner=1) == []
    assert len(await stores.line.alike(claimed, 2)) == 2


async def test_a_line_full_of_what_cannot_be_read_is_left_alone_for_a_while(
    url: str, stores: PostgresStores, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given more jobs that cannot be read than are remembered, and one behind them
    now = 0.0
    monkeypatch.setattr(unread_jobs, "MOST", 3)
    line = PostgresJobLine(stores.database, unread=UnreadJobs(clock=lambda: now))
    newer = [await stores.jobs.add(a_job(), NO_LIMIT) for _ in range(4)]
    plain = await stores.jobs.add(a_job(), NO_LIMIT)
    ask(url, "UPDATE jobs SET request = '{}' WHERE id <> %s", plain.id)
    # When it is claimed, then that is given up, and each is told of once, however often it is tried
    for _ in range(3):
        assert await line.claim("tiny", "w", later()) is None
    assert line.leaves_some("tiny")
    told = capsys.readouterr().out
    assert told.count("waiting_job_unreadable") == 3
    assert told.count("too_many_waiting_jobs_unreadable") == 1
    # When others have made some of them, then it is found after a while, and not before
    ask(url, "DELETE FROM jobs WHERE id = %s", newer[0].id)
    assert await line.claim("tiny", "w", later()) is None
    now = unread_jobs.REST_S
    claimed = await line.claim("tiny", "w", later())
    assert claimed is not None
    assert claimed.id == plain.id


async def test_many_that_cannot_be_read_hide_nothing_for_long(url: str, stores: PostgresStores) -> None:
    # Given more of them in front than one call looks at
    for _ in range(40):
        await stores.jobs.add(a_job(priority=1), NO_LIMIT)
    ask(url, "UPDATE jobs SET request = replace(request, '{', '{\"style\":\"ink\",')")
    plain = await stores.jobs.add(a_job(), NO_LIMIT)
    # Then after a few calls the one behind them is found
    claimed = [await stores.line.claim("tiny", "w", later()) for _ in range(4)]
    assert [job.id for job in claimed if job is not None] == [plain.id]
    assert ask(url, "SELECT count(*) FROM jobs WHERE state = 'pending' AND attempt_count = 0") == [(40,)]


async def test_an_orphan_that_cannot_be_read_is_left_to_who_can(
    url: str, stores: PostgresStores, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given orphans, of which the first has something that only a newer version knows
    newer, plain = [await stores.jobs.add(a_job(), NO_LIMIT) for _ in range(2)]
    for job in (newer, plain):
        assert await stores.jobs.claim(job.id, "gone/w", later())
    ask(url, "UPDATE jobs SET request = replace(request, '{', '{\"style\":\"ink\",') WHERE id = %s", newer.id)
    # Then it stays as it is, and is told of once
    for _ in range(2):
        assert [job.id for job in await stores.nodes.orphans()] == [plain.id]
    assert capsys.readouterr().out.count("orphan_unreadable") == 1
    assert ask(url, "SELECT state FROM jobs WHERE id = %s", newer.id) == [("processing",)]
    # And who can read it finds it
    ask(url, "UPDATE jobs SET request = replace(request, '\"style\":\"ink\",', '') WHERE id = %s", newer.id)
    assert [job.id for job in await stores.nodes.orphans()] == [newer.id, plain.id]
    assert await stores.jobs.give_back(plain.id, 1, LOST, later())


async def test_prompts_do_not_reach_the_log(
    url: str, stores: PostgresStores, capsys: pytest.CaptureFixture[str]
) -> None:
    job = await stores.jobs.add(a_job(), NO_LIMIT)
    ask(url, "ALTER TABLE jobs ADD CHECK (prompt <> 'a secret wish')")
    for bad in (a_job(id=job.id, request=a_request(prompt="a wish")), a_job(request=a_request(prompt="a secret wish"))):
        with pytest.raises(StorageFailure) as failure:
            await stores.jobs.add(bad, NO_LIMIT)
        assert not isinstance(failure.value, StorageAway)  # the same would fail again
    told = capsys.readouterr().out
    assert "store_call_failed" in told
    assert "wish" not in told


# The address

PLAIN = "postgresql+psycopg://user:password@host:5432/danqing"


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+asyncpg", "postgresql+psycopg2"]
)
def test_every_usual_way_to_write_the_address_is_understood(scheme: str) -> None:
    assert postgres_address(PLAIN.replace("postgresql+psycopg", scheme)) == make_url(PLAIN)


def test_what_the_address_says_of_tls_is_passed_on() -> None:
    query = "?sslmode=verify-full&sslrootcert=%2Fca.pem&connect_timeout=7"
    assert postgres_address(PLAIN + query) == make_url(PLAIN + query)
    for written, meant in (("require", "require"), ("true", "require"), ("false", "disable")):
        assert postgres_address(f"{PLAIN}?ssl={written}").query == {"sslmode": meant}


@pytest.mark.parametrize("url", ["mysql://user:password@host/db", "password", "postgresql://h:password/x", "", "://"])
def test_what_is_no_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="postgresql://") as refused:
        postgres_address(url)
    assert "password@host/db" not in str(refused.value).replace("user:password@host:5432", "")


async def test_a_wrong_password_or_option_is_told_without_the_address(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for odd in (f"{url}?sslmode=verify-full", f"{url}?nonsense=1", url.replace("danqing@", "danqing:hidden@") + "_no"):
        with pytest.raises(StorageFailure):
            PostgresStores.open(odd)
    assert "hidden" not in capsys.readouterr().out
