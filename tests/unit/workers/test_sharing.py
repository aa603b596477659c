"""Owners and models share real workers: how many of one owner run, and what a worker is asked for next."""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from danqing.core.states import JobState
from danqing.core.upscaling import UPSCALER
from danqing.queue.embedded import QueueRules
from tests.zoo.house import DEADLINE_S, JOB_RULES, a_house, until

ONE_EACH = QueueRules(max_running_of_owner=1)


async def test_one_owner_does_not_take_all_workers(tmp_path: Path) -> None:
    async with a_house(tmp_path, workers=2, queue_rules=ONE_EACH) as house:
        # Given an owner with two jobs, and later another one with one
        first, second = [await house.submit("waits at the gate", owner="a") for _ in range(2)]
        other = await house.submit("waits at the gate", owner="b")
        await house.under_way(first)
        await house.under_way(other)
        # Then his second waits while theirs runs
        assert (await house.store.get(second.id)).state is JobState.PENDING
        # And is made when his first is done
        house.zoo.open_gate("gate")
        assert [(await house.ended(job)).state for job in (first, second, other)] == [JobState.COMPLETED] * 3


async def test_whatever_becomes_of_an_owners_job_his_next_one_is_made(tmp_path: Path) -> None:
    rules = replace(JOB_RULES, max_attempts=2, cancel_deadline_s=0.2)
    async with a_house(tmp_path, queue_rules=ONE_EACH, job_rules=rules, batch_pictures=2) as house:
        # Given jobs of one owner that fail, kill their worker for good, kill it once, and are cancelled in every state
        failed, died, back = [await house.submit(prompt, owner="a") for prompt in ("fails", "dies", "dies once")]
        assert [(await house.ended(job)).state for job in (failed, died, back)] == [
            JobState.FAILED,
            JobState.FAILED,
            JobState.COMPLETED,
        ]
        heeding, waiting = [await house.submit("waits at the gate", owner="a") for _ in range(2)]
        await house.under_way(heeding)
        for job in (waiting, heeding):
            await house.studio.cancel(job.id)
        deaf = await house.submit("hangs", owner="a")
        await house.under_way(deaf)
        await house.studio.cancel(deaf.id)
        # Then his next one is made all the same
        assert (await house.ended(await house.submit("a tea pot", owner="a"))).state is JobState.COMPLETED


async def test_a_worker_asks_for_jobs_of_the_model_that_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_house(tmp_path) as house:
        # Given a worker that has said nothing of its models yet
        asked: list[frozenset[str]] = []
        take = house.queue.take

        async def noted(models: Collection[str], *, warm: Collection[str] = (), taker: str = "") -> str:
            asked.append(frozenset(warm))
            return await take(models, warm=warm, taker=taker)

        monkeypatch.setattr(house.queue, "take", noted)
        # When it has made a job, then that one's model is at hand
        await house.ended(await house.submit("a tea pot"))
        async with asyncio.timeout(DEADLINE_S):
            await until(lambda: asked == [frozenset({"tiny", UPSCALER})], "another take")


async def test_owners_take_turns_and_a_restart_changes_nothing_about_that(tmp_path: Path) -> None:
    # Given an owner with four jobs, the first of which runs, and another one who comes later with two
    async with a_house(tmp_path) as house:
        piled_up = [await house.submit("waits at the gate", owner="a") for _ in range(4)]
        await house.under_way(piled_up[0])
        late = [await house.submit("a tea pot", owner="b") for _ in range(2)]
        order = [piled_up[0], piled_up[1], late[0], piled_up[2], late[1], piled_up[3]]
        # Then each is told its place
        jobs = [await house.store.get(job.id) for job in order]
        assert [await house.studio.queue_position(job) for job in jobs] == [0, 1, 2, 3, 4, 5]
    # When the server is started again, then they are made in this order
    house.zoo.open_gate("gate")
    async with a_house(tmp_path) as house:
        ends = [await house.ended(job) for job in order]
    assert [job.state for job in ends] == [JobState.COMPLETED] * 6
    began = [job.attempts[-1].started_at for job in ends]
    assert began == sorted(began)
