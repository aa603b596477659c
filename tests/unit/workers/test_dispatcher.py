"""Jobs on their way through real worker processes, with everything going wrong that can."""

import asyncio
import os
import signal
import time
from dataclasses import replace
from datetime import datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from danqing.core.errors import StorageFailure
from danqing.core.orders import Order
from danqing.core.states import JobState
from danqing.core.submitting import Join
from danqing.core.types import Job, RequestDraft, WorkerState
from danqing.workers.hands import JobAttempt
from danqing.workers.messages import JobDone
from danqing.workers.spec import WorkerRules
from tests.fakes.domain import LOST, NO_LIMIT, a_job, a_request, an_original, later
from tests.zoo.engines import ONCE_OPEN, STEPS, Zoo
from tests.zoo.house import DEADLINE_S, FAST, JOB_RULES, a_house, states, steps, until


async def test_a_job_ends_in_its_picture(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given an idle worker
        assert house.worker().state is WorkerState.READY
        # When a job is submitted and watched
        job = await house.submit(f"a tea pot{ONCE_OPEN}", seed=200)
        history = await house.history(job, gate="gate")
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


async def test_a_second_try_inside_the_engine_does_not_count_backwards(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given an engine that makes all steps again, for it ran out of memory after the last one
        history = await house.history(await house.submit(f"makes every step twice{ONCE_OPEN}"), gate="gate")
        # Then a watcher is told each step once
        assert states(history)[-1] == "completed"
        assert steps(history) == list(range(1, STEPS + 1))


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
        assert codes(done) == ["worker_lost", None]
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
        tries = "It was tried 3 times: worker_lost (3 times)."
        assert poisoned.failure.message == f"The worker process was lost. {tries}"
        assert len(poisoned.attempts) == 3
        # And they did not wait for its last attempt, which took nobody's picture with it
        last = poisoned.attempts[-1].started_at
        assert all(job.attempts[0].started_at < last and len(job.attempts) == 1 for job in ends)


@pytest.mark.parametrize(
    ("prompt", "worker_rules"),
    [
        ("dies once", FAST),
        ("hangs once", replace(FAST, step_timeout_s=0.5, step_factor=1.0)),
        ("freezes once", replace(FAST, heartbeat_timeout_s=3.0)),
        ("poisons the device once", FAST),
    ],
)
async def test_a_process_that_went_wrong_once_is_replaced_and_the_job_made(
    tmp_path: Path, prompt: str, worker_rules: WorkerRules
) -> None:
    async with a_house(tmp_path, worker_rules=worker_rules) as house:
        # Given a worker whose usual step is known, and a job whose first attempt takes the process out of service
        await house.ended(await house.submit("a tea pot"))
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
        await house.denoised(job)
        # When it is cancelled, and its picture done only then
        await house.studio.cancel(job.id)
        house.zoo.open_gate("gate")
        await until(lambda: house.worker().state is WorkerState.READY, "the worker is done with it")
        # Then the job stays cancelled, and another one is made
        assert (await house.studio.get(job.id)).state is JobState.CANCELLED
        assert (await house.ended(await house.submit("a tea pot"))).state is JobState.COMPLETED
        assert (await house.studio.get(job.id)).artifacts == ()


async def test_a_picture_written_before_its_job_was_cancelled_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_house(tmp_path) as house:
        # Given a job that is cancelled when its picture is on the disk, just before it counts as completed
        complete = house.store.complete

        async def too_late(job_id: str, *rest: Any) -> Job | None:  # noqa: ANN401 - passed on
            assert (tmp_path / "outputs" / f"{job_id}.png").exists()
            await house.studio.cancel(job_id)
            return await complete(job_id, *rest)

        monkeypatch.setattr(house.store, "complete", too_late)
        job = await house.submit("a tea pot")
        # Then it stays cancelled, and the picture goes
        assert (await house.ended(job)).state is JobState.CANCELLED
        await until(lambda: list((tmp_path / "outputs").iterdir()) == [], "the picture is gone")


@pytest.mark.parametrize("dies", [False, True])
async def test_a_picture_that_comes_after_its_job_was_overdue_is_removed(tmp_path: Path, dies: bool) -> None:
    async with a_house(tmp_path) as house:
        # Given a job that has failed, and another one that is done
        failed, done = [await house.ended(await house.submit(prompt)) for prompt in ("breaks", "a tea pot")]
        assert (failed.state, done.state) == (JobState.FAILED, JobState.COMPLETED)
        # When the worker tells of both that their pictures are there, or dies and tells nothing
        for each in (failed, done):
            house.artifacts.write(f"{each.id}.png", b"picture")
            artifacts = (an_original(each),)
            news = JobDone(job_id=each.id, attempt=1, artifacts=artifacts, denoise_s=1, finish_s=1)
            if dies:
                house.dispatcher.jobs_lost([JobAttempt(each.id, 1)], LOST)
            else:
                house.dispatcher.job_told(news)
        # Then only the one that nobody can ask for is removed
        folder = tmp_path / "outputs"
        await until(lambda: [path.name for path in folder.iterdir()] == [f"{done.id}.png"], "one is gone")


async def test_a_volume_that_is_full_for_a_while_delays_a_picture(tmp_path: Path) -> None:
    # Given a place for pictures where nothing can be written
    (tmp_path / "outputs").touch()
    async with a_house(tmp_path) as house:
        job, dropped = await house.submit("a tea pot"), await house.submit("a tea pot")
        await house.denoised(dropped)
        # When one of two jobs that wait for it is cancelled, and then there is room
        await house.studio.cancel(dropped.id)
        (tmp_path / "outputs").unlink()
        # Then the other one gets its picture, in its first attempt
        done = await house.ended(job)
        assert (done.state, len(done.attempts)) == (JobState.COMPLETED, 1)
        await until(lambda: house.worker().state is WorkerState.READY, "the worker is done with both")
        names = [f"{job.id}.png"]  # of the other one, what was written all the same is removed
        await until(lambda: [path.name for path in (tmp_path / "outputs").iterdir()] == names, "one picture")


async def test_a_job_is_not_overdue_because_the_server_stood_still(tmp_path: Path) -> None:
    async with a_house(tmp_path, job_rules=replace(JOB_RULES, task_timeout_s=6.0)) as house:
        # Given a running job
        job = await house.submit("waits at the gate")
        await house.under_way(job)
        pid = house.worker().pid
        assert pid is not None
        # When server and worker stand still together for longer than a job may take
        os.kill(pid, signal.SIGSTOP)
        time.sleep(6.3)  # noqa: ASYNC251 - the event loop is what shall stand still
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(3 * FAST.check_s)  # a wrong verdict comes at the next look
        house.zoo.open_gate("gate")
        # Then the job is made
        assert (await house.ended(job)).state is JobState.COMPLETED


async def test_a_killed_process_that_stays_does_not_keep_its_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = replace(FAST, heartbeat_timeout_s=3.0, lost_grace_s=0.2)
    async with a_house(tmp_path, worker_rules=rules) as house:
        # Given a frozen worker, and a system in which it survives its SIGKILL
        pid = house.worker().pid
        assert pid is not None
        with monkeypatch.context() as patch:
            patch.setattr(BaseProcess, "kill", lambda self: None)
            job = await house.submit("freezes once")
            # Then the job is made by another process
            done = await house.ended(job)
        os.kill(pid, signal.SIGKILL)
        assert done.state is JobState.COMPLETED
        assert codes(done) == ["worker_lost", None]
        assert house.worker().pid != pid


async def test_a_store_that_cannot_be_written_at_the_start_is_told_at_once(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a job that an earlier server left running, and a store that takes nothing
        job = await house.submit("waits at the gate")
        await house.under_way(job)
        failures = {"give_back": 1_000_000}
        _fail_first(house.store, "give_back", failures)
        # When it is recovered, then that fails at once
        with pytest.raises(StorageFailure):
            await asyncio.wait_for(house.dispatcher.recover(), DEADLINE_S)
        assert failures == {"give_back": 999_999}
        failures["give_back"] = 0


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
        assert await house.studio.progress(job.id) is None


async def test_a_job_that_was_offered_to_a_worker_that_is_lost_meanwhile_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_house(tmp_path) as house:
        # Given a worker that waits for work, and is lost just when it is given some
        (worker,) = house.supervisor.workers
        reserve, losses = worker.reserve, [True]

        def reserve_after_a_loss(job_id: str) -> bool:
            return False if losses and losses.pop() else reserve(job_id)

        monkeypatch.setattr(worker, "reserve", reserve_after_a_loss)
        # When a job comes, then it is made in one attempt
        done = await house.ended(await house.submit("a tea pot"))
        assert (done.state, len(done.attempts)) == (JobState.COMPLETED, 1)
        assert losses == []


async def test_a_job_that_is_joined_costs_the_worker_to_which_it_was_offered_nothing(tmp_path: Path) -> None:
    async with a_house(tmp_path, workers=2) as house:
        # Given a job that runs, and an equal one that comes while another worker waits for work
        draft = RequestDraft(prompt="waits at the gate", width=64, height=64, seed=1)
        first, second = [await house.studio.submit(Order(draft=draft, join=Join.UNDER_WAY)) for _ in range(2)]
        assert first.id == second.id
        # Then that worker makes the next one
        assert (await house.ended(await house.submit("a tea pot"))).state is JobState.COMPLETED
        house.zoo.open_gate("gate")
        assert len((await house.ended(first)).attempts) == 1


async def test_a_job_that_cannot_be_stored_does_not_keep_the_worker_to_which_it_was_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = replace(JOB_RULES, first_store_retry_s=0.05, max_store_retry_s=60.0)
    async with a_house(tmp_path, job_rules=rules) as house:
        # Given a store that fails as the job is written and claimed, and does not come back soon
        add_all, claim = house.store.add_all, house.store.claim
        claims: list[str] = []

        async def fails(*_: object, **__: object) -> Any:  # noqa: ANN401 - raises
            await asyncio.sleep(0.01)
            raise StorageFailure

        async def fails_too(job_id: str, worker: str, now: datetime) -> Job | None:
            claims.append(job_id)
            return await fails()

        monkeypatch.setattr(house.store, "add_all", fails)
        monkeypatch.setattr(house.store, "claim", fails_too)
        with pytest.raises(StorageFailure):
            await house.submit("a tea pot")
        # Then nobody goes on asking for it
        await asyncio.wait_for(house.supervisor.workers[0].free(), 5)
        assert len(claims) == 1
        monkeypatch.setattr(house.store, "add_all", add_all)
        monkeypatch.setattr(house.store, "claim", claim)
        assert (await house.ended(await house.submit("a tea pot"))).state is JobState.COMPLETED


async def test_a_process_that_dies_before_it_has_a_job_costs_that_no_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_house(tmp_path) as house:
        # Given processes that die between the claim and the handing over, as often as a job has attempts
        claim, deaths = house.store.claim, JOB_RULES.max_attempts

        async def deadly_claim(job_id: str, worker: str, now: datetime) -> Job | None:
            nonlocal deaths
            job, pid = await claim(job_id, worker, now), house.worker().pid
            if deaths and pid is not None:
                deaths -= 1
                os.kill(pid, signal.SIGKILL)
                await until(lambda: house.worker().pid != pid, "lost")
            return job

        monkeypatch.setattr(house.store, "claim", deadly_claim)
        # Then the job is made all the same: it never was with any of them
        done = await house.ended(await house.submit("a tea pot"))
        assert codes(done) == [*["worker_replaced"] * JOB_RULES.max_attempts, None]


async def test_the_device_works_while_pictures_are_finished_but_not_without_limit(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given three jobs whose finishing waits
        first, second, third = [await house.submit("finish waits at the gate") for _ in range(3)]
        # Then the second one is denoised while the first is finished
        await house.denoised(first, second)
        # And the third stays in the queue
        assert (await house.store.get(third.id)).state is JobState.PENDING
        # When finishing goes on
        house.zoo.open_gate("gate")
        # Then all are made
        ends = [await house.ended(job) for job in (first, second, third)]
        assert [job.state for job in ends] == [JobState.COMPLETED] * 3


async def test_an_overdue_job_fails_and_the_worker_goes_on(tmp_path: Path) -> None:
    async with a_house(tmp_path, job_rules=replace(JOB_RULES, task_timeout_s=3.0, stop_grace_s=30.0)) as house:
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
    # Given a store left by a server that was killed: one job running, one in its third attempt, one waiting
    async with a_house(tmp_path, ready=False) as house:
        running, waiting, third = [
            await house.store.add(a_job(request=a_request(width=64, height=64)), NO_LIMIT) for _ in range(3)
        ]
        await house.store.claim(running.id, "w9", later())
        for attempt in range(1, 4):
            await house.store.claim(third.id, "w9", later())
            if attempt < 3:
                await house.store.give_back(third.id, attempt, LOST, later())
    # When a new one opens it
    async with a_house(tmp_path) as house:
        ends = [await house.ended(job) for job in (running, waiting, third)]
        # Then all are made: the end of the server was no fault of theirs, and used up no attempt
        assert [(job.state, len(job.attempts)) for job in ends] == [
            (JobState.COMPLETED, 2),
            (JobState.COMPLETED, 1),
            (JobState.COMPLETED, 4),
        ]
        assert codes(ends[0]) == ["server_restarted", None]


async def test_a_job_outlives_more_restarts_of_the_server_than_it_has_attempts(tmp_path: Path) -> None:
    # Given a server that is stopped four times in the middle of the same job
    async with a_house(tmp_path) as house:
        job = await house.submit("waits at the gate")
        await house.under_way(job)
    for _ in range(3):
        async with a_house(tmp_path) as house:
            await house.under_way(job)
    # When it may end
    async with a_house(tmp_path) as house:
        house.zoo.open_gate("gate")
        done = await house.ended(job)
    # Then its picture is made after all
    assert done.state is JobState.COMPLETED
    assert codes(done) == [*["server_restarted"] * 4, None]


async def test_jobs_of_a_model_that_nobody_has_any_more_fail(tmp_path: Path) -> None:
    # Given a store with jobs of another model than the workers have: one waiting, one that ran, one that waits again
    async with a_house(tmp_path, ready=False) as house:
        jobs = [
            await house.store.add(a_job(request=a_request(model="another", width=64, height=64)), NO_LIMIT)
            for _ in range(3)
        ]
        for job in jobs[1:]:
            await house.store.claim(job.id, "w9", later())
        await house.store.give_back(jobs[2].id, 1, LOST, later())
    # When a server recovers them
    async with a_house(tmp_path, ready=False) as house:
        # Then they have failed, for a reason that names the model, and take nobody's place in the queue
        for job in jobs:
            failed = await house.store.get(job.id)
            assert failed.state is JobState.FAILED
            assert failed.failure is not None
            assert failed.failure.code == "model_not_served"
            assert failed.failure.message == "The model another is not served any more."
        counts = await house.store.counts()
        assert (counts[JobState.PENDING], counts[JobState.PROCESSING]) == (0, 0)


async def test_waiting_jobs_are_made_once_a_broken_worker_can_load_its_model(tmp_path: Path) -> None:
    # Given a waiting job, and a server whose worker cannot load the model for a while
    async with a_house(tmp_path, ready=False) as house:
        job = await house.store.add(a_job(request=a_request(width=64, height=64)), NO_LIMIT)
    zoo, rules = Zoo(folder=tmp_path, load="fails four times"), replace(FAST, max_backoff_s=0.05)
    async with a_house(tmp_path, zoo=zoo, worker_rules=rules, ready=False) as house:
        await until(lambda: house.worker().state is WorkerState.BROKEN, "broken")
        # Then the job is made in the end
        assert (await house.ended(job)).state is JobState.COMPLETED


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
        assert time.monotonic() - began < DEADLINE_S
        given_back = await house.store.get(job.id)
        assert given_back.state is JobState.PENDING
        assert codes(given_back) == ["server_restarted"]


async def test_a_worker_that_dies_while_the_server_drains_is_a_lost_one(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a running job on a server that is being stopped
        job = await house.submit("waits at the gate")
        await house.under_way(job)
        pid = house.worker().pid
        assert pid is not None
        stopping = asyncio.create_task(house.dispatcher.stop(deadline_s=DEADLINE_S))
        await asyncio.sleep(0)
        # When the worker's process dies by itself
        os.kill(pid, signal.SIGKILL)
        await asyncio.wait_for(stopping, DEADLINE_S)
        # Then the attempt counts: the job may be what killed it
        assert codes(await house.store.get(job.id)) == ["worker_lost"]


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


def codes(job: Job) -> list[str | None]:
    """How each attempt failed."""
    return [attempt.failure.code if attempt.failure else None for attempt in job.attempts]


def _fail_first(store: object, name: str, failures: dict[str, int]) -> None:
    real = getattr(store, name)

    async def failing(*args: object) -> object:
        if failures[name] > 0:
            failures[name] -= 1
            raise StorageFailure
        return await real(*args)

    setattr(store, name, failing)


async def test_jobs_that_are_alike_are_made_together(tmp_path: Path) -> None:
    async with a_house(tmp_path, batch_pictures=3) as house:
        # Given a job on the device, and behind it five of which the first three are alike
        first = await house.submit("waits at the gate")
        await house.under_way(first)
        alike = [await house.submit(f"tea pot {number}", seed=number) for number in range(3)]
        other = await house.submit("another size", seed=7, width=80)
        last = await house.submit("a late tea pot", seed=9)
        # When the device is free
        house.zoo.open_gate("gate")
        done = [await house.ended(job) for job in (first, *alike, other, last)]
        # Then as many as the rule allows are made together, and nobody is overtaken
        assert [job.state for job in done] == [JobState.COMPLETED] * 6
        assert house.zoo.batches() == [1, 3, 1, 1]
        # And each has its own picture
        for job, seed in zip(done[1:4], range(3), strict=True):
            assert job.original is not None
            with Image.open(house.artifacts.path(job.original.name)) as picture:
                assert picture.getpixel((0, 0)) == (seed, 0, 0)


async def test_jobs_lost_together_are_made_again_one_by_one(tmp_path: Path) -> None:
    async with a_house(tmp_path, batch_pictures=4) as house:
        # Given a job on the device, and behind it three alike, of which one kills its process whenever it runs
        first = await house.submit("waits at the gate")
        await house.under_way(first)
        good = [await house.submit(f"tea pot {number}") for number in range(2)]
        bad = await house.submit("dies")
        # When they come to the device together
        house.zoo.open_gate("gate")
        # Then the bad one fails in the end, and the others are made
        assert (await house.ended(bad)).state is JobState.FAILED
        for job in good:
            done = await house.ended(job)
            assert done.state is JobState.COMPLETED
            assert codes(done) == ["worker_lost", None]
        batches = house.zoo.batches()
        assert batches[:2] == [1, 3]
        assert set(batches[2:]) == {1}


async def test_one_of_a_batch_that_is_cancelled_leaves_the_others_alone(tmp_path: Path) -> None:
    async with a_house(tmp_path, batch_pictures=3, job_rules=replace(JOB_RULES, stop_grace_s=0.05)) as house:
        # Given three jobs made together, of which the second waits after its first step
        first = await house.submit("waits at the gate")
        await house.under_way(first)
        one, waiting, other = [await house.submit(prompt) for prompt in ("a", "waits for a watcher", "b")]
        house.zoo.open_gate("gate")
        await house.under_way(waiting)
        # When the first is cancelled, and then the second goes on
        assert (await house.studio.cancel(one.id)).state is JobState.CANCELLED
        history = await house.history(waiting, previews=True)
        # Then the others are whole, the process was not killed, and the first stays cancelled
        assert states(history)[-1] == "completed"
        assert (await house.ended(other)).state is JobState.COMPLETED
        assert (await house.studio.get(one.id)).state is JobState.CANCELLED
        assert house.worker().restarts == 0
        assert house.zoo.batches() == [1, 3]
