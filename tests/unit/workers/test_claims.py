"""Claims whose answers go astray."""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from danqing.core.errors import JobUnreadable, StorageFailure
from danqing.core.states import JobState
from danqing.core.types import Job
from danqing.queue.celery_taking import CeleryTaking
from danqing.queue.embedded import EmbeddedQueue, QueueRules
from danqing.workers.claims import Claims
from danqing.workers.job_rules import JobRules
from danqing.workers.patient_store import PatientStore
from danqing.workers.worker import Worker
from tests.contracts.job_queue import SOON_S
from tests.fakes.domain import NO_LIMIT, NOW, a_job
from tests.fakes.job_store import InMemoryJobStore
from tests.fakes.line import InMemoryLine
from tests.fakes.studio_parts import RecordingQueue
from tests.zoo.house import JOB_RULES, a_house


async def test_a_claim_that_was_made_and_not_answered_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_house(tmp_path) as house:
        # Given a store that claims a job, and says that it could not
        claim, answers = house.store.claim, [False]

        async def claim_in_silence(job_id: str, worker: str, now: datetime) -> Job | None:
            claimed = await claim(job_id, worker, now)
            if answers:
                answers.clear()
                raise StorageFailure
            return claimed

        monkeypatch.setattr(house.store, "claim", claim_in_silence)
        # When a job comes
        done = await house.ended(await house.submit("a tea pot"))
        # Then it is made by that attempt
        assert answers == []
        assert done.state is JobState.COMPLETED
        assert len(done.attempts) == 1


async def test_a_queue_that_fails_in_a_way_nobody_thought_of_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = replace(JOB_RULES, max_store_retry_s=0.01)
    async with a_house(tmp_path, job_rules=rules) as house:
        # Given a worker that is busy, and a queue that breaks once when it comes back
        take, breaks = house.queue.take, [True]

        async def break_once(models: Collection[str], *, warm: Collection[str] = (), taker: str = "") -> str:
            if breaks:
                breaks.clear()
                raise KeyError("a mistake")
            return await take(models, warm=warm, taker=taker)

        monkeypatch.setattr(house.queue, "take", break_once)
        first = await house.submit("a tea pot")
        assert (await house.ended(first)).state is JobState.COMPLETED
        # Then the next job is made all the same
        assert (await house.ended(await house.submit("a tea pot", seed=7))).state is JobState.COMPLETED
        assert breaks == []


async def test_a_job_that_is_claimed_in_the_stead_of_the_one_taken_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_house(tmp_path) as house:
        # Given a worker at a job, two more that wait, and something that always claims the one that was not taken
        busy = await house.submit("waits at the gate")
        await house.under_way(busy)
        waiting = [await house.submit("a tea pot", seed=seed) for seed in (1, 2)]
        ids, claim = {job.id for job in waiting}, house.store.claim

        async def claim_the_other(job_id: str, worker: str, now: datetime) -> Job | None:
            (other,) = ids - {job_id}
            return await claim(other, worker, now)

        monkeypatch.setattr(house.store, "claim", claim_the_other)
        house.zoo.open_gate("gate")
        # Then both are made, each once
        for job in waiting:
            done = await house.ended(job)
            assert (done.state, len(done.attempts)) == (JobState.COMPLETED, 1)


class UnreadableStore(InMemoryJobStore):
    """All its jobs are a newer version's."""

    async def get(self, job_id: str) -> Job:
        raise JobUnreadable


class Slot:
    """Of a node's worker. lost: while it waited for a message."""

    id = "w1"

    def __init__(self, *, lost: bool) -> None:
        self._lost = lost

    def reserve(self, _: str) -> bool:
        return not self._lost


class ForNewerNodes:
    """A node to which a message has come that names a job which only a newer version can read."""

    def __init__(self) -> None:
        self.line = InMemoryLine()
        self.taking = CeleryTaking(line=self.line, publisher=RecordingQueue())
        rules = JobRules(task_timeout_s=1.0, first_store_retry_s=0.01, max_store_retry_s=0.01)
        store: Any = UnreadableStore()
        patient_store = PatientStore(store, rules)
        self.claims = Claims(
            queue=self.taking, store=store, patient_store=patient_store, clock=lambda: NOW, claiming=self.taking
        )
        self.claims_of_what_was_taken = Claims(
            queue=self.taking, store=store, patient_store=patient_store, clock=lambda: NOW
        )

    async def claimed(self, slot: Slot) -> tuple[list[Job], bool]:
        """By the message, and whether it may go."""
        message = asyncio.create_task(asyncio.to_thread(self.taking.deliver, "tiny", "job-1"))
        named = await asyncio.wait_for(self.taking.take(("tiny",), taker="w1"), SOON_S)
        jobs = await asyncio.wait_for(self.claims.of(cast(Worker, slot), named), SOON_S)
        return jobs, await asyncio.wait_for(message, SOON_S)


async def test_a_message_goes_back_though_nobody_here_can_read_the_job_that_it_names() -> None:
    # Given a worker that was lost while it waited
    node = ForNewerNodes()
    # Then nothing is claimed for it, and the message is for others
    assert await node.claimed(Slot(lost=True)) == ([], False)


async def test_a_claim_that_failed_once_and_finds_nothing_ends_though_nobody_here_can_read_the_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a store that is away for a moment, and then has nothing to be made here
    node = ForNewerNodes()
    claim, away = node.line.claim, [True]

    async def away_at_first(model: str, worker: str, now: datetime, **how: int | None) -> Job | None:
        if away:
            away.clear()
            raise StorageFailure
        return await claim(model, worker, now, **how)

    monkeypatch.setattr(node.line, "claim", away_at_first)
    # Then the worker is free for the next
    assert await node.claimed(Slot(lost=False)) == ([], True)


async def test_the_store_is_not_asked_for_ever_for_a_job_that_it_cannot_read() -> None:
    # Given a worker that was lost while it waited, and a job that only the store can put back into its place
    claims = ForNewerNodes().claims_of_what_was_taken
    # Then it is left where it is
    assert await asyncio.wait_for(claims.of(cast(Worker, Slot(lost=True)), "job-1"), SOON_S) == []


class Pair(Slot):
    """It makes two at a time. lost: before the second was reserved."""

    spec = SimpleNamespace(batches=SimpleNamespace(largest=lambda _: 2))

    def reserve(self, _: str) -> bool:
        return True

    def reserve_too(self, _: str) -> bool:
        return not self._lost


@pytest.mark.parametrize("slot", [Slot(lost=True), Pair(lost=True)])
async def test_a_job_that_is_gone_before_it_was_claimed_does_not_count_as_its_owners(slot: Slot) -> None:
    # Given an owner who may have so many made at once, all taken, of which the last was cancelled and removed meanwhile
    most = 2 if isinstance(slot, Pair) else 1
    store, queue = InMemoryJobStore(), EmbeddedQueue(QueueRules(max_running_of_owner=most, offers=False))
    rules = JobRules(task_timeout_s=1.0, first_store_retry_s=0.01, max_store_retry_s=0.01)
    claims = Claims(queue=queue, store=store, patient_store=PatientStore(store, rules), clock=lambda: NOW)
    jobs = [await store.add(a_job(), NO_LIMIT) for _ in range(most)]
    for job in jobs:
        await queue.publish(job)
    del store._jobs[jobs[-1].id]
    taken = await queue.take((jobs[0].request.model,), taker=slot.id)
    # When the worker is lost
    assert [job.id for job in await claims.of(cast(Worker, slot), taken)] == [job.id for job in jobs[:-1]]
    # Then the owner's next one is taken
    later = await store.add(a_job(), NO_LIMIT)
    await queue.publish(later)
    assert await asyncio.wait_for(queue.take((later.request.model,), taker=slot.id), SOON_S) == later.id
