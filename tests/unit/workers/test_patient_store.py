"""A store that fails is asked until it answers, and what it may have done before is in doubt."""

import asyncio

import pytest

from danqing.core.errors import JobUnreadable, StorageFailure
from danqing.core.types import Job
from danqing.workers.job_rules import JobRules
from danqing.workers.patient_store import PatientStore
from tests.contracts.job_queue import SOON_S
from tests.fakes.domain import NO_LIMIT, a_job
from tests.fakes.job_store import InMemoryJobStore

RULES = JobRules(task_timeout_s=60, first_store_retry_s=0.01, max_store_retry_s=0.02)


@pytest.mark.parametrize("failures", [0, 1, 3])
async def test_who_asks_is_told_whether_he_asked_before(failures: int) -> None:
    # Given a store that fails so often
    told: list[bool] = []

    async def ask(again: bool) -> str:
        told.append(again)
        if len(told) <= failures:
            raise StorageFailure
        return "yes"

    # When it is asked, then it answers in the end
    answer = await asyncio.wait_for(PatientStore(InMemoryJobStore(), RULES).asked(ask), SOON_S)
    assert answer == ("yes", failures > 0)
    assert told == [False] + [True] * failures


async def test_pauses_grow_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def ask(_: bool) -> None:
        if len(pauses) < 4:
            raise StorageFailure

    monkeypatch.setattr("danqing.workers.patient_store.asyncio.sleep", pause)
    rules = JobRules(task_timeout_s=60, first_store_retry_s=0.1, max_store_retry_s=0.5)
    await PatientStore(InMemoryJobStore(), rules).asked(ask)
    assert pauses == [0.1, 0.2, 0.4, 0.5]


async def test_another_mistake_than_the_stores_is_not_waited_out() -> None:
    async def ask(_: bool) -> None:
        raise KeyError("a mistake")

    with pytest.raises(KeyError):
        await asyncio.wait_for(PatientStore(InMemoryJobStore(), RULES).asked(ask), SOON_S)


async def test_a_job_is_found_once_the_store_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    store = InMemoryJobStore()
    job = await store.add(a_job(), NO_LIMIT)
    get, away = store.get, [True]

    async def away_at_first(job_id: str) -> Job:
        if away:
            away.clear()
            raise StorageFailure
        return await get(job_id)

    monkeypatch.setattr(store, "get", away_at_first)
    assert await asyncio.wait_for(PatientStore(store, RULES).find(job.id), SOON_S) == job
    assert await PatientStore(store, RULES).find("no such job") is None


async def test_a_job_of_a_newer_version_is_not_asked_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    store = InMemoryJobStore()

    async def unreadable(_: str) -> Job:
        raise JobUnreadable

    monkeypatch.setattr(store, "get", unreadable)
    assert await asyncio.wait_for(PatientStore(store, RULES).find("job-1"), SOON_S) is None
