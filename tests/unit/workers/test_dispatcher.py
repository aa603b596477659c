"""Jobs on their way through real worker processes, with everything going wrong that can."""

import asyncio
import os
import signal
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image

from danqing.core.errors import StorageFailure
from danqing.core.states import JobState
from danqing.core.types import Job, WorkerState
from danqing.workers.spec import WorkerRules
from tests.fakes.domain import LOST, a_job, a_request, later
from tests.zoo.engines import STEPS
from tests.zoo.house import DEADLINE_S, FAST, JOB_RULES, a_house, states, steps, until


async def test_a_job_ends_in_its_picture(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given an idle worker
        assert house.worker().state is WorkerState.READY
        # When a job is submitted and watched
        job = await house.submit("a tea pot", seed=200)
        history = await house.history(job)
        # Then it goes through its states, every step is told, and the picture is there, of the size asked for
        assert states(history)[-1] == "completed"
        assert steps(history) == list(range(1, STEPS + 1))
        done = await house.studio.get(job.id)
        assert done.original is not None
        path = house.artifacts.path(done.original.name)
        assert path.name == f"{job.id}.png"
        assert path.stat().st_size == done.original.size_bytes
        with Image.open(path) as picture:
            assert (picture.size, picture.getpixel((0, 0))) == ((64, 64), (200, 0, 0))
        # And the attempt names its worker
        assert [(a.number, a.worker, a.failure) for a in done.attempts] == [(1, "w1", None)]


async def test_a_worker_killed_in_mid_job_costs_one_attempt_and_not_the_job(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a job in mid-step
        job = await house.submit("waits at the gate")
        await house.under_way(job)
        first = house.worker().pid
        assert first is not None
        # When its process is killed
        os.kill(first, signal.SIGKILL)
        await until(lambda: house.worker().pid not in (first, None), "a new process")
        house.zoo.open_gate("gate")
        # Then the job completes in its second attempt, in another process, and the first is on record
        done = await house.ended(job)
        assert done.state is JobState.COMPLETED
        assert [a.failure.code if a.failure else None for a in done.attempts] == ["worker_lost", None]
        assert house.worker().restarts == 1


async def test_a_killed_worker_counts_as_away_and_not_as_gone(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a worker that has been ready
        pid = house.worker().pid
        assert pid is not None
        # When it is killed
        os.kill(pid, signal.SIGKILL)
        await until(lambda: house.worker().state is WorkerState.RESTARTING, "restarting")
        # Then jobs are still accepted, and made
        job = await house.submit("a tea pot")
        assert (await house.ended(job)).state is JobState.COMPLETED


async def test_a_job_that_kills_every_worker_fails_while_others_complete(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a poison job before ordinary ones
        poison = await house.submit("dies")
        others = [await house.submit("a tea pot") for _ in range(3)]
        # When all have ended
        ends = [await house.ended(job) for job in others]
        poisoned = await house.ended(poison)
        # Then the others have their pictures, and the poison job failed after its attempts
        assert [job.state for job in ends] == [JobState.COMPLETED] * 3
        assert poisoned.state is JobState.FAILED
        assert poisoned.failure is not None
        assert poisoned.failure.code == "worker_lost"
        assert len(poisoned.attempts) == 3
        # And they did not wait for its last attempt, which took nobody's picture with it
        last = poisoned.attempts[-1].started_at
        assert all(job.attempts[0].started_at < last and len(job.attempts) == 1 for job in ends)


@pytest.mark.parametrize(
    ("prompt", "worker_rules"),
    [
        ("dies once", FAST),
        ("hangs once", replace(FAST, step_timeout_s=0.5, step_factor=1.0)),
        ("freezes once", replace(FAST, heartbeat_timeout_s=1.0)),
        ("poisons the device once", FAST),
    ],
)
async def test_a_process_that_went_wrong_once_is_replaced_and_the_job_made(
    tmp_path: Path, prompt: str, worker_rules: WorkerRules
) -> None:
    async with a_house(tmp_path, worker_rules=worker_rules) as house:
        # Given a job whose first attempt takes the process out of service
        before = house.worker().pid
        job = await house.submit(prompt)
        # When it has ended
        done = await house.ended(job)
        # Then it took a second attempt in a second process
        assert done.state is JobState.COMPLETED
        assert len(done.attempts) == 2
        assert house.worker().pid != before
        assert house.worker().restarts == 1


@pytest.mark.parametrize(
    ("prompt", "code", "message"),
    [
        ("out of memory", "out_of_memory", "Out of device memory; try a smaller size."),
        ("out of host memory", "out_of_memory", "Out of device memory; try a smaller size."),
        ("breaks", "engine_failure", "The picture could not be made."),
        ("finish breaks", "engine_failure", "The picture could not be made."),
        ("gives up", "engine_failure", "The engine gave up the picture without being asked to."),
        ("wrong size", "engine_failure", "The engine made 63x64 pixels instead of 64x64."),
    ],
)
async def test_an_engine_that_fails_ends_the_job_and_not_the_worker(
    tmp_path: Path, prompt: str, code: str, message: str
) -> None:
    async with a_house(tmp_path) as house:
        # Given an engine that fails this job
        pid = house.worker().pid
        # When it is run, and an ordinary one after it
        failed, good = await house.submit(prompt), await house.submit("a tea pot")
        ends = await house.ended(failed), await house.ended(good)
        # Then the first failed at once, in words without a library's text, and the same process made the second
        assert ends[0].state is JobState.FAILED
        assert ends[0].failure is not None
        assert (ends[0].failure.code, ends[0].failure.message) == (code, message)
        assert len(ends[0].attempts) == 1
        assert ends[1].state is JobState.COMPLETED
        assert house.worker().pid == pid


async def test_a_process_that_exits_under_a_job_is_lost(tmp_path: Path) -> None:
    async with a_house(tmp_path, job_rules=replace(JOB_RULES, max_attempts=1)) as house:
        # When an engine calls sys.exit
        done = await house.ended(await house.submit("exits"))
        # Then that is a lost worker
        assert done.failure is not None
        assert done.failure.code == "worker_lost"


async def test_a_cancelled_job_is_dropped_within_a_step(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a job in mid-step, and one behind it
        job, next_job = await house.submit("waits at the gate"), await house.submit("a tea pot")
        await house.under_way(job)
        pid = house.worker().pid
        # When it is cancelled
        await house.studio.cancel(job.id)
        # Then the worker goes on to the next one, and the cancelled one stays so, without a picture
        assert (await house.ended(next_job)).state is JobState.COMPLETED
        assert (await house.studio.get(job.id)).state is JobState.CANCELLED
        assert not (tmp_path / "outputs" / f"{job.id}.png").exists()
        assert house.worker().pid == pid


async def test_a_job_cancelled_while_it_is_finished_stays_cancelled(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a job that is off the device and waits for its finishing
        job = await house.submit("finish waits at the gate")
        await until(lambda: (p := house.studio.progress(job.id)) is not None and p.step == STEPS, "the last step")
        # When it is cancelled, and its picture done only then
        await house.studio.cancel(job.id)
        house.zoo.open_gate("gate")
        await until(lambda: house.worker().state is WorkerState.READY, "the worker is done with it")
        # Then the job stays cancelled, and another one is made
        assert (await house.studio.get(job.id)).state is JobState.CANCELLED
        assert (await house.ended(await house.submit("a tea pot"))).state is JobState.COMPLETED
        assert (await house.studio.get(job.id)).artifacts == ()


async def test_a_job_cancelled_while_it_is_claimed_is_never_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_house(tmp_path) as house:
        # Given a store whose answer to the claim takes until after the cancel
        claim, claimed, cancelled = house.store.claim, asyncio.Event(), asyncio.Event()

        async def slow_claim(job_id: str, worker: str, now: datetime) -> Job | None:
            job = await claim(job_id, worker, now)
            claimed.set()
            await cancelled.wait()
            return job

        monkeypatch.setattr(house.store, "claim", slow_claim)
        job = await house.submit("waits at the gate")
        await asyncio.wait_for(claimed.wait(), DEADLINE_S)
        # When the job is cancelled in between
        await house.studio.cancel(job.id)
        cancelled.set()
        # Then the worker is free for the next one, without the gate being opened, and nothing is left of the job
        done = await house.ended(await house.submit("a tea pot"))
        assert done.state is JobState.COMPLETED
        assert (await house.store.get(job.id)).state is JobState.CANCELLED
        assert house.studio.progress(job.id) is None


async def test_the_device_works_while_pictures_are_finished_but_not_without_limit(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given three jobs whose finishing waits
        first, second, third = [await house.submit("finish waits at the gate") for _ in range(3)]

        def denoised(job_id: str) -> bool:
            progress = house.studio.progress(job_id)
            return progress is not None and progress.step == STEPS

        # Then the second one is denoised while the first is finished
        await until(lambda: denoised(first.id) and denoised(second.id), "two denoised")
        # And the third stays in the queue
        assert (await house.store.get(third.id)).state is JobState.PENDING
        # When finishing goes on
        house.zoo.open_gate("gate")
        # Then all are made
        ends = [await house.ended(job) for job in (first, second, third)]
        assert [job.state for job in ends] == [JobState.COMPLETED] * 3


async def test_an_overdue_job_fails_and_the_worker_goes_on(tmp_path: Path) -> None:
    async with a_house(tmp_path, job_rules=replace(JOB_RULES, task_timeout_s=0.5, stop_grace_s=30.0)) as house:
        # Given a job that takes longer than allowed, and heeds a stop
        pid = house.worker().pid
        done = await house.ended(await house.submit("waits at the gate"))
        # Then it failed with that error, once, and the same process makes the next
        assert done.failure is not None
        assert (done.state, done.failure.code, len(done.attempts)) == (JobState.FAILED, "job_timeout", 1)
        assert (await house.ended(await house.submit("a tea pot"))).state is JobState.COMPLETED
        assert house.worker().pid == pid


async def test_a_worker_that_does_not_drop_an_overdue_job_is_killed(tmp_path: Path) -> None:
    async with a_house(tmp_path, job_rules=replace(JOB_RULES, task_timeout_s=0.5)) as house:
        # Given a job that never looks whether it was stopped
        pid = house.worker().pid
        done = await house.ended(await house.submit("hangs"))
        # Then it failed as overdue and not as lost, and a new process makes the next
        assert done.failure is not None
        assert done.failure.code == "job_timeout"
        await until(lambda: house.worker().pid not in (pid, None), "a new process")
        assert len((await house.store.get(done.id)).attempts) == 1


async def test_every_accepted_job_ends_after_a_restart_of_the_server(tmp_path: Path) -> None:
    # Given a store left by a server that was killed: one job running, one at its last attempt, one waiting
    async with a_house(tmp_path, ready=False) as house:
        running, waiting, spent = [
            await house.store.add(a_job(request=a_request(width=64, height=64))) for _ in range(3)
        ]
        await house.store.claim(running.id, "w9", later())
        for attempt in range(1, 4):
            await house.store.claim(spent.id, "w9", later())
            if attempt < 3:
                await house.store.give_back(spent.id, attempt, LOST, later())
    # When a new one opens it
    async with a_house(tmp_path) as house:
        ends = [await house.ended(job) for job in (running, waiting, spent)]
        # Then the running one is made in another attempt, the waiting one is made, the spent one has failed
        assert [(job.state, len(job.attempts)) for job in ends] == [
            (JobState.COMPLETED, 2),
            (JobState.COMPLETED, 1),
            (JobState.FAILED, 3),
        ]
        assert ends[0].attempts[0].failure is not None
        assert ends[0].attempts[0].failure.message == "The server was restarted."


async def test_a_job_of_a_model_that_nobody_has_waits_for_a_server_that_has_it(tmp_path: Path) -> None:
    # Given a store with a job of another model than the workers have
    async with a_house(tmp_path, ready=False) as house:
        job = await house.store.add(a_job(request=a_request(model="another", width=64, height=64)))
    # When a server recovers it
    async with a_house(tmp_path) as house:
        assert (await house.ended(await house.submit("a tea pot"))).state is JobState.COMPLETED
        # Then it waits, and nothing else is held up
        assert (await house.store.get(job.id)).state is JobState.PENDING


async def test_stopping_lets_the_running_job_end_and_leaves_the_rest_pending(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a running job and a waiting one
        running, waiting = await house.submit("waits at the gate"), await house.submit("a tea pot")
        await house.under_way(running)
        pid = house.worker().pid
        assert pid is not None
        # When the server is stopped, with time
        stopping = asyncio.create_task(house.dispatcher.stop(deadline_s=30))
        await asyncio.sleep(0)
        house.zoo.open_gate("gate")
        await asyncio.wait_for(stopping, 30)
        # Then the running one has its picture, the waiting one still waits, and no process is left
        assert (await house.store.get(running.id)).state is JobState.COMPLETED
        assert (await house.store.get(waiting.id)).state is JobState.PENDING
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_stopping_gives_back_what_does_not_end_in_time(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a job that will not end
        job = await house.submit("waits at the gate")
        await house.under_way(job)
        # When the server is stopped with little time
        began = time.monotonic()
        await house.dispatcher.stop(deadline_s=0.1)
        # Then that is kept, and the job waits for the next server
        assert time.monotonic() - began < 5
        assert (await house.store.get(job.id)).state is JobState.PENDING


async def test_a_failing_store_delays_a_job_and_does_not_lose_it(tmp_path: Path) -> None:
    async with a_house(tmp_path, job_rules=replace(JOB_RULES, first_store_retry_s=0.01)) as house:
        # Given a store that fails twice at each of the calls on a job's way
        failures = {"claim": 2, "complete": 2}
        for name in failures:
            _fail_first(house.store, name, failures)
        # When a job is submitted
        done = await house.ended(await house.submit("a tea pot"))
        # Then it is made in its first attempt
        assert (done.state, len(done.attempts)) == (JobState.COMPLETED, 1)
        assert failures == {"claim": 0, "complete": 0}


async def test_a_store_that_does_not_answer_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    rules = replace(JOB_RULES, first_store_retry_s=0.01, settle_grace_s=0.2)
    async with a_house(tmp_path, job_rules=rules) as house:
        # Given a picture whose completion the store never takes
        failures = {"complete": 1_000_000}
        _fail_first(house.store, "complete", failures)
        job = await house.submit("a tea pot")
        await until(lambda: failures["complete"] < 1_000_000, "the first failure")
        # When the server is stopped
        await asyncio.wait_for(house.dispatcher.stop(deadline_s=5), DEADLINE_S)
        # Then it stops, and the job is left for the next server
        assert (await house.store.get(job.id)).state is JobState.PROCESSING
    async with a_house(tmp_path) as house:
        assert (await house.ended(job)).state is JobState.COMPLETED


async def test_two_workers_share_the_jobs(tmp_path: Path) -> None:
    async with a_house(tmp_path, workers=2) as house:
        # Given two jobs that wait at the gate
        jobs = [await house.submit("waits at the gate") for _ in range(2)]
        # When both are under way at the same time
        for job in jobs:
            await house.under_way(job)
        house.zoo.open_gate("gate")
        ends = [await house.ended(job) for job in jobs]
        # Then each worker had one
        assert {job.attempts[0].worker for job in ends} == {"w1", "w2"}


def _fail_first(store: object, name: str, failures: dict[str, int]) -> None:
    real = getattr(store, name)

    async def failing(*args: object) -> object:
        if failures[name] > 0:
            failures[name] -= 1
            raise StorageFailure
        return await real(*args)

    setattr(store, name, failing)
