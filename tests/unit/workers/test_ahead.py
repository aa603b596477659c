"""The next job is claimed, and with the worker, before the device is free; and nothing of it is lost by that."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from danqing.core.states import JobState
from danqing.core.types import Job
from danqing.workers.ahead import Ahead
from danqing.workers.job_rules import JobRules
from tests.zoo.engines import STEPS, Zoo
from tests.zoo.house import FAST, JOB_RULES, House, a_house, until, until_progress

LONG_AHEAD = replace(FAST, ahead_s=3600.0)  # as soon as anything can be told, which is after one job


@asynccontextmanager
async def two_in_hand(
    folder: Path, first: str, *, job_rules: JobRules = JOB_RULES
) -> AsyncIterator[tuple[House, Job, Job]]:
    """A house in which a job with this prompt is on the device, and another one is next."""
    async with a_house(folder, worker_rules=LONG_AHEAD, job_rules=job_rules) as house:
        await house.ended(await house.submit("a tea pot"))
        on_device = await house.submit(first)
        after = await house.submit("a second tea pot")
        yield house, on_device, after


async def state(house: House, job: Job) -> JobState:
    return (await house.studio.get(job.id)).state


async def until_claimed(house: House, job: Job) -> None:
    await until(lambda: job.id in house.dispatcher.attempts(), "a claim")


async def test_the_next_job_is_with_the_worker_while_another_is_made(tmp_path: Path) -> None:
    async with two_in_hand(tmp_path, "waits at the gate, later") as (house, first, after):
        third = await house.submit("a third tea pot")
        # When the device is about to be free, one job more is claimed, and no other
        await until_claimed(house, after)
        await asyncio.sleep(0.2)
        assert await state(house, first) is JobState.PROCESSING
        assert await state(house, third) is JobState.PENDING
        assert await house.studio.progress(after.id) is None
        # Then each is made, once
        house.zoo.open_gate("gate")
        ends = [await house.ended(job) for job in (first, after, third)]
        assert [(job.state, len(job.attempts)) for job in ends] == [(JobState.COMPLETED, 1)] * 3


async def test_a_job_that_was_next_loses_no_attempt_when_its_process_dies(tmp_path: Path) -> None:
    async with two_in_hand(tmp_path, "waits at the gate, later") as (house, first, after):
        await until_claimed(house, after)
        pid = house.worker().pid
        assert pid is not None
        house.supervisor.workers[0].kill("to see what becomes of both")
        await until(lambda: house.worker().pid not in (pid, None), "a new process")
        house.zoo.open_gate("gate")
        ends = [await house.ended(job) for job in (first, after)]
        assert [job.state for job in ends] == [JobState.COMPLETED] * 2
        assert [[attempt.failure and attempt.failure.code for attempt in job.attempts] for job in ends] == [
            ["worker_lost", None],
            ["worker_replaced", None],
        ]


async def test_a_job_that_is_cancelled_while_it_is_next_is_not_made(tmp_path: Path) -> None:
    async with two_in_hand(tmp_path, "waits at the gate, later") as (house, first, after):
        await until_claimed(house, after)
        pid = house.worker().pid
        await house.studio.cancel(after.id)
        assert await state(house, after) is JobState.CANCELLED
        house.zoo.open_gate("gate")
        assert (await house.ended(first)).state is JobState.COMPLETED
        # Then the worker goes on with others, in the same process, and there is no picture of it
        assert (await house.ended(await house.submit("a third tea pot"))).state is JobState.COMPLETED
        assert not (tmp_path / "outputs" / f"{after.id}.png").exists()
        assert house.worker().pid == pid


async def test_the_time_of_a_job_counts_from_when_the_device_turns_to_it(tmp_path: Path) -> None:
    rules = replace(JOB_RULES, task_timeout_s=6.0)
    async with two_in_hand(tmp_path, "hangs, later", job_rules=rules) as (house, first, after):
        await until_claimed(house, after)
        # When the one on the device is overdue, and its process is ended for it
        done = await house.ended(first)
        assert done.failure is not None
        assert done.failure.code == "job_timeout"
        # Then the next one is neither overdue nor to blame
        made = await house.ended(after)
        assert made.state is JobState.COMPLETED
        assert [attempt.failure and attempt.failure.code for attempt in made.attempts] == ["worker_replaced", None]


async def test_a_next_job_that_hangs_is_overdue_once_its_time_has_begun(tmp_path: Path) -> None:
    rules = replace(JOB_RULES, task_timeout_s=6.0)
    async with a_house(tmp_path, worker_rules=LONG_AHEAD, job_rules=rules) as house:
        await house.ended(await house.submit("a tea pot"))
        first, after = await house.submit("waits at the gate, later"), await house.submit("hangs")
        await until_claimed(house, after)
        house.zoo.open_gate("gate")
        assert (await house.ended(first)).state is JobState.COMPLETED
        done = await house.ended(after)
        assert (done.failure and done.failure.code, len(done.attempts)) == ("job_timeout", 1)


async def test_a_next_job_that_is_stuck_before_its_first_step_costs_the_process(tmp_path: Path) -> None:
    rules = replace(LONG_AHEAD, task_timeout_s=6.0, overdue_grace_s=0.5)
    async with a_house(tmp_path, worker_rules=rules) as house:
        await house.ended(await house.submit("a tea pot"))
        first, after = await house.submit("waits at the gate, later"), await house.submit("freezes before a step")
        await until_claimed(house, after)
        house.zoo.open_gate("gate")
        assert (await house.ended(first)).state is JobState.COMPLETED
        made = await house.ended(after)
        assert [attempt.failure and attempt.failure.code for attempt in made.attempts] == ["worker_lost", None]


async def test_a_cancelled_next_job_costs_the_one_before_it_nothing(tmp_path: Path) -> None:
    rules = replace(JOB_RULES, cancel_deadline_s=0.1)
    async with two_in_hand(tmp_path, "waits at the gate, later", job_rules=rules) as (house, first, after):
        await until_claimed(house, after)
        await house.studio.cancel(after.id)
        await asyncio.sleep(0.5)
        house.zoo.open_gate("gate")
        assert len((await house.ended(first)).attempts) == 1


async def test_a_process_that_went_wrong_begins_nothing_more(tmp_path: Path) -> None:
    async with two_in_hand(tmp_path, "poisons the device at the gate, later") as (house, first, after):
        await until_claimed(house, after)
        house.zoo.open_gate("gate")
        ends = [await house.ended(job) for job in (first, after)]
        assert [job.state for job in ends] == [JobState.COMPLETED] * 2
        assert [attempt.failure and attempt.failure.code for attempt in ends[1].attempts] == ["worker_replaced", None]


async def test_where_one_is_about_to_be_free_and_one_is_the_idle_one_makes_it(tmp_path: Path) -> None:
    async with a_house(tmp_path, worker_rules=LONG_AHEAD, workers=2) as house:
        # Given two workers that have the model, and know how long a job takes
        both = [await house.submit("waits at the gate, later") for _ in range(2)]
        for job in both:
            await house.under_way(job)
        house.zoo.open_gate("gate")
        for job in both:
            await house.ended(job)
        house.zoo.close_gate("gate")
        # When one of them is busy, though it says that it will soon be free
        first = await house.submit("waits at the gate, later")
        await house.under_way(first)
        # Then the other one makes what comes
        assert (await house.ended(await house.submit("a second tea pot"))).state is JobState.COMPLETED
        house.zoo.open_gate("gate")
        assert (await house.ended(first)).state is JobState.COMPLETED


async def test_a_job_that_is_next_when_the_server_stops_is_the_servers(tmp_path: Path) -> None:
    async with two_in_hand(tmp_path, "waits at the gate, later") as (house, first, after):
        await until_claimed(house, after)
        await house.dispatcher.stop(deadline_s=0.1)
        for job in (first, after):
            stored = await house.store.get(job.id)
            assert stored.state is JobState.PENDING
            assert stored.attempts[-1].failure is not None
            assert stored.attempts[-1].failure.code == "server_restarted"


async def test_a_stop_makes_the_next_job_too_if_there_is_time(tmp_path: Path) -> None:
    async with two_in_hand(tmp_path, "waits at the gate, later") as (house, first, after):
        await until_claimed(house, after)
        house.zoo.open_gate("gate")
        await house.dispatcher.stop(deadline_s=20)
        assert [await state(house, job) for job in (first, after)] == [JobState.COMPLETED] * 2


async def test_a_forecast_that_does_not_come_true_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []  # since the newest step

    class Noted(Ahead):
        def __init__(self, *, ahead_s: float, tell: Callable[[bool], None]) -> None:
            def note(is_soon: bool) -> None:
                told.append(is_soon)
                tell(is_soon)

            super().__init__(ahead_s=ahead_s, tell=note)

        def step_done(self, now: float, *, left: int) -> None:
            told.clear()
            super().step_done(now, left=left)

    monkeypatch.setattr("danqing.workers.worker.Ahead", Noted)
    # Steps that take a while, for from them it is foreseen how long the rest of a picture takes
    zoo = Zoo(folder=tmp_path, step_s=0.02)
    async with a_house(tmp_path, zoo=zoo, worker_rules=replace(FAST, ahead_s=0.01)) as house:
        await house.ended(await house.submit("a tea pot"))
        first = await house.submit("waits at the gate, later")
        await until_progress(house.studio, first.id, lambda made: made.step == STEPS - 1)
        await until(lambda: told[-2:] == [True, False], "a forecast that is taken back")
        after = await house.submit("a second tea pot")
        await asyncio.sleep(0.3)
        assert await state(house, after) is JobState.PENDING
        house.zoo.open_gate("gate")
        assert [(await house.ended(job)).state for job in (first, after)] == [JobState.COMPLETED] * 2
