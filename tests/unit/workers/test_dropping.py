"""Jobs that are to be dropped, over real worker processes with engines that do not listen, or listen late."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from danqing.core.states import JobState
from danqing.core.types import ArtifactKind
from tests.zoo.house import FAST, JOB_RULES, a_house, until

SOON = replace(JOB_RULES, cancel_deadline_s=0.3)


async def test_a_cancelled_job_that_is_not_dropped_costs_its_worker_the_process(tmp_path: Path) -> None:
    async with a_house(tmp_path, job_rules=SOON) as house:
        # Given a job whose engine never looks whether it was stopped, and one behind it
        job, next_job = await house.submit("hangs"), await house.submit("a tea pot")
        await house.under_way(job)
        pid = house.worker().pid
        # When it is cancelled, then that is answered at once
        assert (await house.studio.cancel(job.id)).state is JobState.CANCELLED
        assert house.worker().pid == pid
        house.artifacts.write(f"{job.id}.png", b"picture")  # as one may that does not listen
        # And after the deadline another process makes the next job, which has lost no attempt
        done = await house.ended(next_job)
        assert (done.state, len(done.attempts)) == (JobState.COMPLETED, 1)
        assert house.worker().pid != pid
        assert (await house.studio.get(job.id)).state is JobState.CANCELLED
        assert (await house.studio.get(job.id)).attempts[0].failure is None
        # And what nobody told of is gone
        assert [path.name for path in (tmp_path / "outputs").iterdir()] == [f"{next_job.id}.png"]


async def test_a_cancelled_job_that_is_dropped_in_time_costs_nobody_anything(tmp_path: Path) -> None:
    in_time = replace(SOON, cancel_deadline_s=2.0)
    async with a_house(tmp_path, job_rules=in_time) as house:
        # Given a job that heeds a stop, cancelled
        job, pid = await house.submit("waits at the gate"), house.worker().pid
        await house.under_way(job)
        await house.studio.cancel(job.id)
        # When another one runs until long after the deadline
        other = await house.submit("waits at the gate")
        await house.under_way(other)
        await asyncio.sleep(in_time.cancel_deadline_s + 4 * FAST.check_s)  # a wrong verdict would come by now
        house.zoo.open_gate("gate")
        # Then the same process has made it
        assert len((await house.ended(other)).attempts) == 1
        assert house.worker().pid == pid


@pytest.mark.parametrize("way", ["cancelled", "stuck"])
async def test_who_shares_the_process_of_a_job_that_is_not_dropped_loses_no_attempt(tmp_path: Path, way: str) -> None:
    rules = replace(SOON, max_attempts=1)
    worker_rules = replace(FAST, step_timeout_s=0.6, step_factor=1.0) if way == "stuck" else FAST
    async with a_house(tmp_path, job_rules=rules, worker_rules=worker_rules) as house:
        # Given a job that is being enlarged when the next one hangs on the device, and each has one attempt
        first = await house.submit("enlarging waits at the gate", ArtifactKind.UPSCALED)
        await house.enlarging(first)
        hung = await house.submit("hangs")
        await house.under_way(hung)
        # When the process is ended because of the second
        if way == "cancelled":
            await house.studio.cancel(hung.id)
        await until(lambda: house.worker().restarts == 1, "a new process")
        house.zoo.open_gate("gate")
        # Then the first is made in a second attempt all the same
        done = await house.ended(first)
        assert done.state is JobState.COMPLETED
        assert [attempt.failure and attempt.failure.code for attempt in done.attempts] == ["worker_replaced", None]
        # And the other has the end that is its own
        failure = (await house.ended(hung)).failure
        assert (failure and failure.code) == {"cancelled": None, "stuck": "worker_lost"}[way]


async def test_a_job_cancelled_while_its_picture_is_finished_is_waited_for_and_then_ended(tmp_path: Path) -> None:
    async with a_house(tmp_path, job_rules=SOON) as house:
        # Given a job in a stage that cannot be interrupted, off the device
        job, pid = await house.submit("finish waits at the gate"), house.worker().pid
        await house.denoised(job)
        # When it is cancelled, then its process is replaced, and makes the next one
        await house.studio.cancel(job.id)
        await until(lambda: house.worker().pid not in (pid, None), "a new process")
        assert (await house.ended(await house.submit("a tea pot"))).state is JobState.COMPLETED
