"""Pictures that take long to enlarge beside others, through real worker processes, with everything going wrong."""

import asyncio
import os
import signal
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from danqing.core.states import JobState
from danqing.core.types import ArtifactKind, Job, Stage
from danqing.workers.hands import JobAttempt
from danqing.workers.messages import JobNews
from tests.zoo.engines import PARTS
from tests.zoo.house import DEADLINE_S, FAST, JOB_RULES, House, a_house, states, steps, until

UPSCALED = ArtifactKind.UPSCALED


async def test_later_jobs_do_not_wait_until_a_picture_is_enlarged(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a picture that takes long to enlarge, and more behind it than may be finished at a time
        slow, *copies = [await house.submit("enlarging waits at the gate", UPSCALED) for _ in range(3)]
        # When later jobs are submitted
        for _ in range(3):
            done = await house.ended(await house.submit("a tea pot"))
            # Then they are made at once
            assert done.state is JobState.COMPLETED
        # And of the earlier ones the originals are there, while the enlarging goes on
        for job in (slow, *copies):
            await house.generated(job)
            assert house.artifacts.path(f"{job.id}.png").is_file()
        house.zoo.open_gate("gate")
        ends = [await house.ended(job) for job in (slow, *copies)]
        assert [(job.state, len(job.attempts)) for job in ends] == [(JobState.COMPLETED, 1)] * 3
        assert [told.kind for told in ends[-1].artifacts] == [ArtifactKind.ORIGINAL, UPSCALED]


async def test_watchers_of_a_picture_that_waits_are_told_its_own_parts(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a picture that is being enlarged and one that waits for it
        first = await house.submit("enlarging waits at the gate", UPSCALED)
        second = await house.submit("a tea pot", UPSCALED)
        await house.generated(second)
        # When the second is watched, and both can go on
        history = await house.history(second, gate="gate")
        # Then what is told is its own, in order, and timed from when its enlarging began
        assert states(history) == ["generated", "completed"]
        assert steps(history, Stage.UPSCALING) == list(range(1, PARTS + 1))
        assert (await house.ended(first)).state is JobState.COMPLETED


async def test_the_device_waits_when_too_many_pictures_wait_to_be_enlarged(tmp_path: Path) -> None:
    async with a_house(tmp_path, worker_rules=replace(FAST, max_enlarging=2)) as house:
        worker = house.supervisor.workers[0]
        # Given one picture fewer to be enlarged than may be
        first = await house.submit("enlarging waits at the gate", UPSCALED)
        await house.generated(first)
        assert (await house.ended(await house.submit("a tea pot"))).state is JobState.COMPLETED
        # When there is another one
        second = await house.submit("a tea pot", UPSCALED)
        await house.generated(second)
        # Then the worker has no room for more, though its device is free
        assert not worker.reserve("another job")
        waiting = await house.submit("a tea pot")
        assert not worker.reserve("another job")
        assert (await house.store.get(waiting.id)).state is JobState.PENDING
        # When one is enlarged, there is
        house.zoo.open_gate("gate")
        assert (await house.ended(waiting)).state is JobState.COMPLETED


async def test_a_process_killed_while_it_enlarges_and_denoises_costs_each_job_one_attempt(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a picture that is being enlarged, one that waits for it, and one that is being denoised
        enlarged = await house.submit("enlarging waits at the gate", UPSCALED)
        waiting = await house.submit("a tea pot", UPSCALED)
        await house.generated(waiting)
        denoised = await house.submit("waits at the gate", UPSCALED)
        await house.under_way(denoised)
        await house.enlarging(enlarged)
        pid = pid_of(house)
        # When their process is killed
        os.kill(pid, signal.SIGKILL)
        await until(lambda: house.worker().pid not in (pid, None), "a new process")
        house.zoo.open_gate("gate")
        # Then all are complete in their second attempt, one after the other
        ends = [await house.ended(job) for job in (enlarged, waiting, denoised)]
        for done in ends:
            assert (done.state, codes(done)) == (JobState.COMPLETED, ["worker_lost", None])
            assert [told.kind for told in done.artifacts] == [ArtifactKind.ORIGINAL, UPSCALED]
            assert files(tmp_path, done) == [f"{done.id}-upscaled.png", f"{done.id}.png"]


async def test_a_second_attempt_waits_until_everything_is_enlarged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_house(tmp_path) as house:
        # Given a job that is lost with its worker, and one that is made before its second attempt
        job = await house.submit("waits at the gate")
        await house.under_way(job)
        copy = await house.submit("enlarging waits at the gate", UPSCALED, priority=1)
        said, claim, claimed = overheard(house, monkeypatch), house.store.claim, asyncio.Event()

        async def told_claim(job_id: str, worker: str, now: datetime) -> Job | None:
            found = await claim(job_id, worker, now)
            if job_id == job.id:
                claimed.set()
            return found

        monkeypatch.setattr(house.store, "claim", told_claim)
        os.kill(pid_of(house), signal.SIGKILL)
        # When the second attempt is claimed while the other one's picture is being enlarged
        await house.enlarging(copy)
        await asyncio.wait_for(claimed.wait(), DEADLINE_S)
        await asyncio.sleep(0.3)  # a step too early would come at once
        house.zoo.open_gate("gate")
        ends = [await house.ended(each) for each in (copy, job)]
        # Then it begins when that is done
        assert [codes(done) for done in ends] == [[None], ["worker_lost", None]]
        assert said.index(("JobDone", copy.id)) < said.index(("StepDone", job.id))


async def test_a_process_whose_enlarger_crashes_is_lost(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a job on the device
        before = pid_of(house)
        job = await house.submit("enlarging exits once", UPSCALED)
        # When the thread that enlarges another one's picture ends
        done = await house.ended(job)
        # Then so did the process, and another one made everything
        assert (done.state, codes(done)) == (JobState.COMPLETED, ["worker_lost", None])
        assert house.worker().pid != before


async def test_a_device_poisoned_while_enlarging_costs_that_job_one_attempt(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        before = pid_of(house)
        # When enlarging raises an error that no later call on the device survives
        done = await house.ended(await house.submit("enlarging poisons the device once", UPSCALED))
        # Then another process makes the picture
        assert done.state is JobState.COMPLETED
        assert codes(done) == ["engine_failure", None]
        assert house.worker().pid != before


async def test_a_process_that_hangs_while_it_enlarges_is_killed_and_those_that_waited_are_made(tmp_path: Path) -> None:
    rules = replace(JOB_RULES, task_timeout_s=4.0, max_attempts=1)
    async with a_house(tmp_path, job_rules=rules) as house:
        # Given a picture whose enlarging never ends, one that waits for it, and one attempt for each
        before = pid_of(house)
        hangs = await house.submit("enlarging hangs", UPSCALED)
        waits = await house.submit("a tea pot", UPSCALED)
        await house.generated(waits)
        # When the first is overdue
        failed = await house.ended(hangs)
        # Then it has failed, and its process goes; the other one loses no attempt, and is made by the next
        assert failed.failure is not None
        assert (failed.state, failed.failure.code) == (JobState.FAILED, "job_timeout")
        done = await house.ended(waits)
        assert (done.state, codes(done)) == (JobState.COMPLETED, ["worker_replaced", None])
        assert house.worker().pid != before


async def test_a_process_that_is_to_end_while_it_enlarges_begins_nothing_more(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a worker that enlarges a picture when it gets a SIGTERM
        slow = await house.submit("enlarging waits at the gate", UPSCALED)
        await house.generated(slow)
        pid = pid_of(house)
        os.kill(pid, signal.SIGTERM)
        # When another job comes
        later = await house.submit("a tea pot")
        await asyncio.sleep(0.5)
        house.zoo.open_gate("gate")
        # Then the picture is enlarged to its end, and the other job made by the next process, without losing an attempt
        assert codes(await house.ended(slow)) == [None]
        done = await house.ended(later)
        assert done.state is JobState.COMPLETED
        assert codes(done) in ([None], ["worker_replaced", None])
        await until(lambda: house.worker().pid not in (pid, None), "a new process")


async def test_waiting_to_be_enlarged_makes_no_job_overdue_and_no_process_hung(tmp_path: Path) -> None:
    rules = replace(JOB_RULES, task_timeout_s=3.0, stop_grace_s=DEADLINE_S)
    watched = replace(FAST, step_timeout_s=2.5, step_factor=1.0, task_timeout_s=2.5, overdue_grace_s=0.0)
    async with a_house(tmp_path, job_rules=rules, worker_rules=watched) as house:
        # Given a picture that takes too long to enlarge, and one that waits for it
        pid = pid_of(house)
        slow = await house.submit("enlarging waits at the gate", UPSCALED)
        waits = await house.submit("a tea pot", UPSCALED)
        await house.generated(waits)
        # When the first is overdue, and so much time has gone that the other one would be as well
        assert (await house.ended(slow)).state is JobState.FAILED
        await asyncio.sleep(rules.task_timeout_s)
        assert (await house.store.get(waits.id)).state is JobState.GENERATED
        house.zoo.open_gate("gate")
        # Then that one has the rest of its time, in the same process
        done = await house.ended(waits)
        assert (done.state, len(done.attempts)) == (JobState.COMPLETED, 1)
        assert house.worker().pid == pid


async def test_a_worker_works_on_what_it_enlarges_and_not_on_what_waits_for_it(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        worker = house.supervisor.workers[0]
        # Given a picture that is being enlarged and one that waits for it
        jobs = [await house.submit("enlarging waits at the gate", UPSCALED) for _ in range(2)]
        await house.enlarging(jobs[0])
        await house.generated(jobs[1])
        # Then only the first may be what the process hangs in
        assert [worker.works_on(JobAttempt(job.id, 1)) for job in jobs] == [True, False]
        # And neither at the end
        house.zoo.open_gate("gate")
        for job in jobs:
            await house.ended(job)
        assert not any(worker.works_on(JobAttempt(job.id, 1)) for job in jobs)


async def test_stopping_lets_pictures_be_enlarged_to_the_end(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a picture that is being enlarged and one that waits for it
        jobs = [await house.submit("enlarging waits at the gate", UPSCALED) for _ in range(2)]
        for job in jobs:
            await house.generated(job)
        # When the server is stopped, with time
        stopping = asyncio.create_task(house.dispatcher.stop(deadline_s=DEADLINE_S))
        await asyncio.sleep(0)
        house.zoo.open_gate("gate")
        await asyncio.wait_for(stopping, DEADLINE_S)
        # Then both are complete
        for job in jobs:
            done = await house.store.get(job.id)
            assert (done.state, codes(done)) == (JobState.COMPLETED, [None])
            assert files(tmp_path, job) == [f"{job.id}-upscaled.png", f"{job.id}.png"]


async def test_stopping_gives_back_what_is_not_enlarged_in_time(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a picture that is being enlarged and one that waits for it
        jobs = [await house.submit("enlarging waits at the gate", UPSCALED) for _ in range(2)]
        for job in jobs:
            await house.generated(job)
        # When the server is stopped with little time
        await asyncio.wait_for(house.dispatcher.stop(deadline_s=0.1), DEADLINE_S)
        # Then they wait for the next server
        for job in jobs:
            given_back = await house.store.get(job.id)
            assert (given_back.state, codes(given_back)) == (JobState.PENDING, ["server_restarted"])
    async with a_house(tmp_path) as house:
        house.zoo.open_gate("gate")
        # Which makes both
        ends = [await house.ended(job) for job in jobs]
        assert [job.state for job in ends] == [JobState.COMPLETED] * 2
        assert files(tmp_path, jobs[1]) == [f"{jobs[1].id}-upscaled.png", f"{jobs[1].id}.png"]


def overheard(house: House, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the workers say of jobs from now on, by kind and job."""
    told, said = house.dispatcher.job_told, list[tuple[str, str]]()

    def listen(message: JobNews) -> None:
        said.append((type(message).__name__, message.job_id))
        told(message)

    monkeypatch.setattr(house.dispatcher, "job_told", listen)
    return said


def pid_of(house: House) -> int:
    """Of the present process."""
    pid = house.worker().pid
    assert pid is not None
    return pid


def codes(job: Job) -> list[str | None]:
    """How each attempt failed."""
    return [attempt.failure.code if attempt.failure else None for attempt in job.attempts]


def files(folder: Path, job: Job) -> list[str]:
    """The names of the job's files."""
    return sorted(path.name for path in (folder / "outputs").glob(f"{job.id}*"))
