"""The worker process as the server sees it through the pipe: which messages come, in which order, and how it ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from danqing.core.types import JobFailure
from danqing.workers.factory import ArtifactStoreFactory, SetupFactory
from danqing.workers.messages import (
    FromWorker,
    Heartbeat,
    JobDone,
    JobFailed,
    LoadFailed,
    RunJob,
    Shutdown,
    StopJob,
    WorkerReady,
)
from danqing.workers.process import WorkerProcess
from danqing.workers.spec import WorkerSpec
from tests.fakes.domain import a_request
from tests.zoo.engines import Zoo
from tests.zoo.house import DEADLINE_S, a_spec, until


class Talk:
    """A running process and what it has said, heartbeats apart."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.heartbeats = 0
        self.said: list[FromWorker] = []
        self.process = WorkerProcess(spec, heartbeat_s=0.02, on_message=self._hear)

    def _hear(self, message: FromWorker) -> None:
        if isinstance(message, Heartbeat):
            self.heartbeats += 1
        else:
            self.said.append(message)

    async def until_said(self, *names: str) -> None:
        await until(lambda: self.names == list(names), f"{names}, but {self.names}")

    @property
    def names(self) -> list[str]:
        return [type(message).__name__ for message in self.said]

    async def exit_status(self) -> int | None:
        return await asyncio.wait_for(self.process.ended, DEADLINE_S)


@asynccontextmanager
async def talk(spec: WorkerSpec) -> AsyncIterator[Talk]:
    """Kills the process at the end."""
    talking = Talk(spec)
    try:
        yield talking
    finally:
        talking.process.kill()
        await talking.exit_status()


def run(job_id: str, prompt: str = "a tea pot") -> RunJob:
    return RunJob(job_id=job_id, attempt=1, request=a_request(prompt=prompt, width=64, height=64))


STEPS = ["StepDone"] * 4


async def test_a_job_is_told_from_step_to_step(tmp_path: Path) -> None:
    async with talk(a_spec(tmp_path, Zoo(folder=tmp_path))) as worker:
        # When it has loaded and gets a job
        await worker.until_said("WorkerReady")
        worker.process.send(run("a"))
        # Then it tells each step, that the device is free, and that the picture is stored
        await worker.until_said("WorkerReady", *STEPS, "DeviceFree", "JobDone")
        ready, done = worker.said[0], worker.said[-1]
        assert isinstance(ready, WorkerReady)
        assert ready.models == ("tiny",)
        assert isinstance(done, JobDone)
        assert (tmp_path / "outputs" / done.artifacts[0].name).stat().st_size == done.artifacts[0].size_bytes
        assert done.denoise_s >= 0
        assert done.finish_s > 0
        # And its heart beats meanwhile
        before = worker.heartbeats
        await until(lambda: worker.heartbeats > before, "another heartbeat")


async def test_a_job_stopped_before_it_begins_is_dropped_at_once(tmp_path: Path) -> None:
    async with talk(a_spec(tmp_path, Zoo(folder=tmp_path))) as worker:
        # Given a job in the worker's hands, one behind it that is stopped, and a stop for one that nobody knows
        worker.process.send(run("a", "waits at the gate"))
        worker.process.send(run("b"))
        worker.process.send(StopJob(job_id="b"))
        worker.process.send(StopJob(job_id="c"))
        await worker.until_said("WorkerReady", "StepDone")
        # When the first is stopped as well
        worker.process.send(StopJob(job_id="a"))
        # Then both are told as stopped, without the device being told free
        await worker.until_said("WorkerReady", "StepDone", "JobStopped", "JobStopped")
        # And an earlier stop does not hit a job that comes later
        worker.process.send(run("c"))
        await worker.until_said("WorkerReady", "StepDone", "JobStopped", "JobStopped", *STEPS, "DeviceFree", "JobDone")


async def test_a_shutdown_ends_the_process_after_the_jobs_given(tmp_path: Path) -> None:
    async with talk(a_spec(tmp_path, Zoo(folder=tmp_path))) as worker:
        worker.process.send(run("a"))
        worker.process.send(Shutdown())
        # Then the job is done before the process ends in order
        assert await worker.exit_status() == 0
        assert worker.names[-1] == "JobDone"


async def test_a_poisoned_process_ends_itself_after_storing_what_it_had(tmp_path: Path) -> None:
    async with talk(a_spec(tmp_path, Zoo(folder=tmp_path))) as worker:
        # Given a picture that is being finished while the next job breaks the device
        await worker.until_said("WorkerReady")
        worker.process.send(run("a", "finish waits at the gate"))
        worker.process.send(run("b", "poisons the device once"))
        await until(lambda: "JobFailed" in worker.names, "the failure")
        (tmp_path / "gate").touch()
        # Then the process ends by itself, with an error, and the first picture is stored
        assert await worker.exit_status() == 1
        assert worker.names[-1] == "JobDone"
        failed = next(message for message in worker.said if isinstance(message, JobFailed))
        assert failed.poisoned
        assert failed.failure.retryable


async def test_a_load_that_fails_is_told_and_ends_the_process(tmp_path: Path) -> None:
    async with talk(a_spec(tmp_path, Zoo(folder=tmp_path, load="fails"))) as worker:
        assert await worker.exit_status() == 1
        failure = JobFailure(code="model_load_failure", message="The model's files are missing.")
        assert worker.said == [LoadFailed(failure=failure)]


async def test_a_picture_that_cannot_be_stored_is_tried_again_until_its_job_is_stopped(tmp_path: Path) -> None:
    # Given an artifact store whose folder is a file
    (tmp_path / "a file").touch()
    artifacts = ArtifactStoreFactory(
        target="danqing.blobs.local:LocalArtifactStore", argument=tmp_path / "a file" / "outputs"
    )
    async with talk(replace(a_spec(tmp_path, Zoo(folder=tmp_path)), artifacts=artifacts)) as worker:
        # When a job is run
        worker.process.send(run("a"))
        # Then nothing is said of its end before it is stopped
        await worker.until_said("WorkerReady", *STEPS, "DeviceFree")
        before = worker.heartbeats
        await until(lambda: worker.heartbeats > before + 10, "more heartbeats")
        await worker.until_said("WorkerReady", *STEPS, "DeviceFree")
        worker.process.send(StopJob(job_id="a"))
        await worker.until_said("WorkerReady", *STEPS, "DeviceFree", "JobStopped")


async def test_the_setup_is_run_before_anything_else(tmp_path: Path) -> None:
    # Given a setup that opens a gate
    setup = SetupFactory(target="os:mkdir", argument=str(tmp_path / "was here"))
    async with talk(replace(a_spec(tmp_path, Zoo(folder=tmp_path)), setup=setup)) as worker:
        # Then it has run by the time the worker is ready
        await worker.until_said("WorkerReady")
        assert (tmp_path / "was here").is_dir()
