"""Pictures with more than an original, through real worker processes, with everything going wrong that can."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from danqing.core.errors import JobNotCancellable, StorageFailure
from danqing.core.events import ProgressMade, StateChanged
from danqing.core.states import JobState
from danqing.core.types import ArtifactKind, Job, Stage, WorkerState
from tests.fakes.domain import NO_LIMIT, a_job, a_request, an_original, later
from tests.zoo.engines import PARTS, STEPS
from tests.zoo.house import DEADLINE_S, JOB_RULES, House, a_house, states, steps, until

PREVIEW, UPSCALED = ArtifactKind.PREVIEW, ArtifactKind.UPSCALED


async def test_everything_asked_for_is_made(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # When a picture is asked for with a preview and an upscaled copy
        job = await waiting(house, "a tea pot", PREVIEW, UPSCALED)
        history = await house.history(job, gate="gate")
        # Then it goes through all states, with the steps of each stage in theirs
        assert states(history) == ["pending", "processing", "generated", "completed"]
        assert steps(history) == list(range(1, STEPS + 1))
        assert steps(history, Stage.UPSCALING) == list(range(1, PARTS + 1))
        generated = next(n for n, event in enumerate(history) if states([event]) == ["generated"])
        assert steps(history[:generated], Stage.UPSCALING) == []
        assert steps(history[generated:]) == []
        # And the time of each stage is told
        for stage in Stage:
            elapsed = [
                e.progress.elapsed_s for e in history if isinstance(e, ProgressMade) and e.progress.stage is stage
            ]
            assert elapsed == sorted(elapsed)
            assert all(0 <= seconds < DEADLINE_S for seconds in elapsed)
        # And the original and its preview are there as soon as it is generated
        event = history[generated]
        assert isinstance(event, StateChanged)
        assert [told.name for told in event.job.artifacts] == [f"{job.id}.png", f"{job.id}.webp"]
        # And everything at the end
        done = await house.studio.get(job.id)
        kinds = [(told.kind, told.name, told.media_type, told.width, told.height) for told in done.artifacts]
        assert kinds == [
            (ArtifactKind.ORIGINAL, f"{job.id}.png", "image/png", 64, 64),
            (PREVIEW, f"{job.id}.webp", "image/webp", 64, 64),
            (UPSCALED, f"{job.id}-upscaled.png", "image/png", 256, 256),
        ]
        assert [house.artifacts.path(told.name).stat().st_size for told in done.artifacts] == [
            told.size_bytes for told in done.artifacts
        ]
        with Image.open(house.artifacts.path(f"{job.id}-upscaled.png")) as picture:
            assert picture.size == (256, 256)
        assert done.adjustments[-2:] == ("made in a zoo", "finished in a zoo")


async def test_a_preview_needs_no_further_state(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        job = await waiting(house, "a tea pot", PREVIEW)
        assert states(await house.history(job, gate="gate")) == ["pending", "processing", "completed"]
        assert files(tmp_path, job) == [f"{job.id}.png", f"{job.id}.webp"]
        assert [told.kind for told in (await house.studio.get(job.id)).artifacts] == [ArtifactKind.ORIGINAL, PREVIEW]


async def test_a_worker_killed_while_it_enlarges_costs_one_attempt_and_not_the_job(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a job whose picture is being enlarged
        job = await house.submit("enlarging waits at the gate", PREVIEW, UPSCALED)
        await house.enlarging(job)
        assert (await house.studio.get(job.id)).state is JobState.GENERATED
        pid = house.worker().pid
        assert pid is not None
        # When its process is killed
        os.kill(pid, signal.SIGKILL)
        await until(lambda: house.worker().pid not in (pid, None), "a new process")
        house.zoo.open_gate("gate")
        # Then the job completes in its second attempt, with everything
        done = await house.ended(job)
        assert (done.state, len(done.attempts)) == (JobState.COMPLETED, 2)
        assert done.attempts[0].failure is not None
        assert done.attempts[0].failure.code == "worker_lost"
        assert [told.kind for told in done.artifacts] == [ArtifactKind.ORIGINAL, PREVIEW, UPSCALED]
        assert files(tmp_path, job) == [f"{job.id}-upscaled.png", f"{job.id}.png", f"{job.id}.webp"]


async def test_a_job_of_which_there_is_a_picture_cannot_be_cancelled(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a job whose picture is being enlarged
        job = await house.submit("enlarging waits at the gate", UPSCALED)
        await house.enlarging(job)
        # When it is cancelled, that is refused
        with pytest.raises(JobNotCancellable):
            await house.studio.cancel(job.id)
        # Then it is completed
        house.zoo.open_gate("gate")
        assert (await house.ended(job)).state is JobState.COMPLETED


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("enlarging breaks", "The picture could not be made."),
        ("enlarges too little", "The engine made 252x256 pixels instead of 256x256."),
    ],
)
async def test_an_engine_that_fails_to_enlarge_ends_the_job_and_leaves_the_original(
    tmp_path: Path, prompt: str, message: str
) -> None:
    async with a_house(tmp_path) as house:
        # When a picture cannot be enlarged
        pid = house.worker().pid
        failed = await house.ended(await house.submit(prompt, UPSCALED))
        # Then the job has failed, once, and its original is still there
        assert (failed.state, len(failed.attempts)) == (JobState.FAILED, 1)
        assert failed.failure is not None
        assert (failed.failure.code, failed.failure.message) == ("engine_failure", message)
        assert [told.kind for told in failed.artifacts] == [ArtifactKind.ORIGINAL]
        # And the same process makes the next
        assert (await house.ended(await house.submit("a tea pot"))).state is JobState.COMPLETED
        assert house.worker().pid == pid
        assert files(tmp_path, failed) == [f"{failed.id}.png"]


async def test_a_job_that_fails_before_its_first_pictures_are_told_leaves_none(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # When the original is stored, and its preview cannot be made
        failed = await house.ended(await house.submit("encoding the preview breaks", PREVIEW))
        # Then the job has failed without artifacts, and the original goes
        assert (failed.state, failed.artifacts) == (JobState.FAILED, ())
        await until(lambda: files(tmp_path, failed) == [], "the original is gone")


async def test_a_job_cancelled_before_its_first_pictures_are_told_leaves_none(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a job whose original is stored, and whose preview is being made
        job = await house.submit("encoding the preview waits at the gate", PREVIEW, UPSCALED)
        await until(lambda: files(tmp_path, job) == [f"{job.id}.png"], "the original")
        # When it is cancelled
        await house.studio.cancel(job.id)
        house.zoo.open_gate("gate")
        # Then nothing of it is left
        await until(lambda: house.worker().state is WorkerState.READY, "the worker is done with it")
        await until(lambda: files(tmp_path, job) == [], "the original is gone")
        assert (await house.studio.get(job.id)).state is JobState.CANCELLED


async def test_a_job_cancelled_while_its_first_pictures_are_told_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_house(tmp_path) as house:
        # Given a job that is cancelled just before it counts as generated
        generate = house.store.generate

        async def too_late(job_id: str, *rest: Any) -> Job | None:  # noqa: ANN401 - passed on
            assert files(tmp_path, job) == [f"{job_id}.png"]
            await house.studio.cancel(job_id)
            return await generate(job_id, *rest)

        monkeypatch.setattr(house.store, "generate", too_late)
        job = await house.submit("enlarging waits at the gate", UPSCALED)
        # When its worker goes on
        assert (await house.ended(job)).state is JobState.CANCELLED
        house.zoo.open_gate("gate")
        # Then nothing of it is left
        await until(lambda: house.worker().state is WorkerState.READY, "the worker is done with it")
        await until(lambda: files(tmp_path, job) == [], "the original is gone")
        assert (await house.studio.get(job.id)).artifacts == ()


async def test_an_overdue_job_is_dropped_between_two_parts_and_keeps_its_original(tmp_path: Path) -> None:
    async with a_house(tmp_path, job_rules=replace(JOB_RULES, task_timeout_s=2.0, stop_grace_s=30.0)) as house:
        # Given a job that takes longer than allowed while it is enlarged
        pid = house.worker().pid
        job = await house.submit("enlarging waits at the gate", UPSCALED)
        failed = await house.ended(job)
        assert failed.failure is not None
        assert (failed.state, failed.failure.code) == (JobState.FAILED, "job_timeout")
        # When the engine comes to the end of the part
        house.zoo.open_gate("gate")
        # Then the rest is dropped, the original stays, and the same process makes the next
        assert (await house.ended(await house.submit("a tea pot"))).state is JobState.COMPLETED
        assert house.worker().pid == pid
        assert files(tmp_path, job) == [f"{job.id}.png"]
        assert [told.kind for told in (await house.studio.get(job.id)).artifacts] == [ArtifactKind.ORIGINAL]


async def test_a_failing_store_delays_what_is_generated_and_keeps_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_house(tmp_path, job_rules=replace(JOB_RULES, first_store_retry_s=0.01)) as house:
        # Given a store that fails many times when the original is there, while the worker goes on to the end
        generate, refusals = house.store.generate, iter(range(8))

        async def failing(*args: Any) -> Job | None:  # noqa: ANN401 - passed on
            if next(refusals, None) is not None:
                raise StorageFailure
            return await generate(*args)

        monkeypatch.setattr(house.store, "generate", failing)
        job = await waiting(house, "a tea pot", UPSCALED)
        # When it takes everything at last
        history = await house.history(job, gate="gate")
        # Then watchers were told everything in order, and it took one attempt
        assert states(history) == ["pending", "processing", "generated", "completed"]
        upscaling = [n for n, event in enumerate(history) if steps([event], Stage.UPSCALING)]
        assert [states([event]) for event in history].index(["generated"]) < min(upscaling)
        assert steps(history, Stage.UPSCALING) == list(range(1, PARTS + 1))
        assert len((await house.studio.get(job.id)).attempts) == 1


async def test_a_generated_job_is_made_again_after_a_restart_of_the_server(tmp_path: Path) -> None:
    # Given a store left by a server that was killed while a picture was enlarged
    async with a_house(tmp_path, ready=False) as house:
        request = a_request(width=64, height=64, further=(UPSCALED,))
        job = await house.store.add(a_job(request=request), NO_LIMIT)
        await house.store.claim(job.id, "w9", later())
        assert await house.store.generate(job.id, 1, [an_original(job)], []) is not None
    # When a new one opens it
    async with a_house(tmp_path) as house:
        done = await house.ended(job)
        # Then everything is made anew
        assert (done.state, len(done.attempts)) == (JobState.COMPLETED, 2)
        assert [(told.kind, told.width) for told in done.artifacts] == [(ArtifactKind.ORIGINAL, 64), (UPSCALED, 256)]


async def waiting(house: House, prompt: str, *further: ArtifactKind) -> Job:
    """A job behind another one that waits at the gate, so that a watcher can come before its first step."""
    await house.under_way(await house.submit("waits at the gate"))
    return await house.submit(prompt, *further)


def files(folder: Path, job: Job) -> list[str]:
    """The names of the job's files."""
    return sorted(path.name for path in (folder / "outputs").glob(f"{job.id}*"))
