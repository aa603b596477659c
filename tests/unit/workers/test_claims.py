"""Claims whose answers go astray."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from danqing.core.errors import StorageFailure
from danqing.core.states import JobState
from danqing.core.types import Job
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
