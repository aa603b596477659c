"""The worker process as the server sees it through the pipe: which messages come, in which order, and how it ends."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from PIL import Image

from danqing.core.images import ImageRef
from danqing.core.types import ArtifactKind, JobFailure, Mode
from danqing.http.server import event_loop_factory
from danqing.workers.factory import ArtifactStoreFactory, SetupFactory
from danqing.workers.messages import (
    DeviceFree,
    EnlargingBegan,
    FromWorker,
    Heartbeat,
    JobDone,
    JobFailed,
    JobGenerated,
    JobStopped,
    LoadFailed,
    PartDone,
    PreviewReady,
    RunJob,
    RunJobs,
    SendPreviews,
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


def run(job_id: str, prompt: str = "a tea pot", *further: ArtifactKind, previews: bool = False) -> RunJobs:
    request = a_request(prompt=prompt, width=64, height=64, further=further)
    return RunJobs(jobs=(RunJob(job_id=job_id, attempt=1, request=request, previews=previews),))


STEPS = ["StepDone"] * 4
ENLARGED_TO_PART_1 = ["JobGenerated", "EnlargingBegan", "PartDone"]
PREVIEW, UPSCALED = ArtifactKind.PREVIEW, ArtifactKind.UPSCALED


async def test_a_job_is_told_from_step_to_step(tmp_path: Path) -> None:
    async with talk(a_spec(tmp_path, Zoo(folder=tmp_path))) as worker:
        # When it has loaded and gets a job
        await worker.until_said("WorkerReady")
        worker.process.send(run("a"))
        # Then it tells each step, that the device is free, and that the picture is stored
        await worker.until_said("WorkerReady", *STEPS, "DeviceFree", "JobDone")
        ready, done = worker.said[0], worker.said[-1]
        assert isinstance(ready, WorkerReady)
        assert ready.models == ("tiny", "upscaler")
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


async def test_further_pictures_are_told_as_they_come(tmp_path: Path) -> None:
    async with talk(a_spec(tmp_path, Zoo(folder=tmp_path))) as worker:
        # When a job asks for everything
        worker.process.send(run("a", "a tea pot", PREVIEW, UPSCALED))
        # Then it is told when the first pictures are stored, each part, and the end
        await worker.until_said("WorkerReady", *STEPS, "DeviceFree", *ENLARGED_TO_PART_1, *["PartDone"] * 2, "JobDone")
        generated, began, *parts, done = worker.said[-6:]
        assert isinstance(generated, JobGenerated)
        assert [told.name for told in generated.artifacts] == ["a.png", "a.webp"]
        assert generated.adjustments == ("made in a zoo", "finished in a zoo")
        assert began == EnlargingBegan(job_id="a", attempt=1)
        assert parts == [PartDone(job_id="a", attempt=1, part=part, parts=3) for part in (1, 2, 3)]
        # And nothing is told twice
        assert isinstance(done, JobDone)
        assert [told.name for told in done.artifacts] == ["a-upscaled.png"]
        assert done.adjustments == ()
        assert done.upscale_s > 0


async def test_a_job_stopped_between_two_parts_is_dropped(tmp_path: Path) -> None:
    async with talk(a_spec(tmp_path, Zoo(folder=tmp_path))) as worker:
        # Given a picture that is being enlarged
        worker.process.send(run("a", "enlarging waits at the gate", UPSCALED))
        said = ["WorkerReady", *STEPS, "DeviceFree", *ENLARGED_TO_PART_1]
        await worker.until_said(*said)
        # When its job is stopped, which a later message shows to have been heard
        worker.process.send(StopJob(job_id="a"))
        worker.process.send(run("b"))
        said += [*STEPS, "DeviceFree", "JobDone"]
        await worker.until_said(*said)
        (tmp_path / "gate").touch()
        # Then the part is ended and the rest dropped; what was stored has been told
        await worker.until_said(*said, "PartDone", "JobStopped")
        assert worker.said[-1] == JobStopped(job_id="a", attempt=1)
        assert not (tmp_path / "outputs" / "a-upscaled.png").exists()


async def test_pictures_are_enlarged_in_order_and_those_stopped_meanwhile_are_left_out(tmp_path: Path) -> None:
    async with talk(a_spec(tmp_path, Zoo(folder=tmp_path))) as worker:
        # Given a picture that is being enlarged, and two that wait for it with their originals stored and told
        worker.process.send(run("a", "enlarging waits at the gate", UPSCALED))
        worker.process.send(run("b", "a tea pot", UPSCALED))
        worker.process.send(run("c", "a tea pot", UPSCALED))
        await until(lambda: worker.names.count("JobGenerated") == 3 and "PartDone" in worker.names, "three originals")
        assert worker.names.count("EnlargingBegan") == 1
        # When the first of those is stopped, which a later message shows to have been heard
        worker.process.send(StopJob(job_id="b"))
        worker.process.send(run("d"))
        await until(lambda: worker.names[-1] == "JobDone", "another picture")
        (tmp_path / "gate").touch()
        # Then it is dropped at its turn, and the other one enlarged
        await until(lambda: worker.names.count("JobDone") == 3, "two copies")
        assert news_of(worker, "a")[-4:] == ["PartDone", "PartDone", "PartDone", "JobDone"]
        assert news_of(worker, "b")[-2:] == ["JobGenerated", "JobStopped"]
        assert news_of(worker, "c")[-6:] == [*ENLARGED_TO_PART_1, "PartDone", "PartDone", "JobDone"]
        copies = {path.name for path in (tmp_path / "outputs").glob("*-upscaled.png")}
        assert copies == {"a-upscaled.png", "c-upscaled.png"}


async def test_a_shutdown_ends_the_process_after_everything_is_enlarged(tmp_path: Path) -> None:
    async with talk(a_spec(tmp_path, Zoo(folder=tmp_path))) as worker:
        # Given a picture that is being enlarged, one that waits for it, one that is finished, and a shutdown
        worker.process.send(run("a", "enlarging waits at the gate", UPSCALED))
        worker.process.send(run("b", "a tea pot", UPSCALED))
        worker.process.send(run("c", "finish waits at the gate", UPSCALED))
        worker.process.send(Shutdown())
        await until(lambda: worker.names.count("DeviceFree") == 3, "all off the device")
        # When it can go on
        (tmp_path / "gate").touch()
        # Then everything is there before the process ends in order
        assert await worker.exit_status() == 0
        assert worker.names.count("JobDone") == 3
        assert len(list((tmp_path / "outputs").glob("*-upscaled.png"))) == 3


async def test_a_process_poisoned_while_it_enlarges_ends_itself_after_storing_what_it_had(tmp_path: Path) -> None:
    async with talk(a_spec(tmp_path, Zoo(folder=tmp_path))) as worker:
        # Given a job on the device while an enlargement shows that the device cannot be trusted
        await worker.until_said("WorkerReady")
        worker.process.send(run("a", "enlarging poisons the device once", UPSCALED))
        worker.process.send(run("b", "waits at the gate", UPSCALED))
        await until(lambda: "JobFailed" in worker.names, "the failure")
        (tmp_path / "gate").touch()
        # Then the process ends by itself, with an error, and the other job has everything
        assert await worker.exit_status() == 1
        failed = next(message for message in worker.said if isinstance(message, JobFailed))
        assert (failed.job_id, failed.poisoned, failed.failure.retryable) == ("a", True, True)
        assert news_of(worker, "b")[-1] == "JobDone"
        assert (tmp_path / "outputs" / "b-upscaled.png").exists()


def news_of(worker: Talk, job_id: str) -> list[str]:
    """The names of the messages about one job."""
    return [type(message).__name__ for message in worker.said if getattr(message, "job_id", None) == job_id]


async def test_what_was_stored_and_not_told_is_told_at_the_end(tmp_path: Path) -> None:
    async with talk(a_spec(tmp_path, Zoo(folder=tmp_path))) as worker:
        # Given a job that fails, and one that is stopped, when the original is stored and the preview is not
        await worker.until_said("WorkerReady")
        worker.process.send(run("a", "encoding the preview breaks", PREVIEW))
        await until(lambda: worker.names[-1] == "JobFailed", "the failure")
        worker.process.send(run("b", "encoding the preview waits at the gate", PREVIEW))
        await until(lambda: (tmp_path / "outputs" / "b.png").exists(), "the second original")
        worker.process.send(StopJob(job_id="b"))
        worker.process.send(run("c"))
        await until(lambda: worker.names.count("DeviceFree") == 3, "the stop has been heard")
        (tmp_path / "gate").touch()
        await until(lambda: worker.names[-1] == "JobDone", "the end")
        # Then both tell of the original
        ends = [message for message in worker.said if isinstance(message, JobFailed | JobStopped)]
        assert [[told.name for told in end.artifacts] for end in ends] == [["a.png"], ["b.png"]]


async def test_previews_are_sent_where_they_are_wanted(tmp_path: Path) -> None:
    # Given a worker that waits for as long as it takes until the pipe has room for a preview
    setup = SetupFactory(target="tests.zoo.setups:wait_for_room", argument=60.0)
    async with talk(replace(a_spec(tmp_path, Zoo(folder=tmp_path)), setup=setup)) as worker:
        # When a job is run with previews that no pipe holds at once, one without, and one that gets a watcher later
        worker.process.send(run("a", "large previews", previews=True))
        worker.process.send(run("b"))
        worker.process.send(run("c", "waits for a watcher"))
        await until(lambda: worker.names.count("JobDone") == 2, "two pictures")
        worker.process.send(SendPreviews(job_id="nobody's"))
        worker.process.send(SendPreviews(job_id="c"))
        await until(lambda: worker.names.count("JobDone") == 3, "three pictures")
        # Then each is told its own, whole
        previews = [message for message in worker.said if isinstance(message, PreviewReady)]
        assert [(told.job_id, told.step) for told in previews] == [("a", 1), ("a", 2), ("a", 3), ("c", 2), ("c", 3)]
        assert all(len(told.picture.content) > 500_000 for told in previews[:3])


async def test_a_request_may_start_from_an_image_in_the_artifact_store(tmp_path: Path) -> None:
    # Given a green image in the store
    image = ImageRef(name=f"input-{64 * '1'}.png", width=8, height=8)
    (tmp_path / "outputs").mkdir()
    Image.new("RGB", image.size, (0, 255, 0)).save(tmp_path / "outputs" / image.name)
    (plain,) = run("a").jobs
    job = replace(plain, request=replace(plain.request, mode=Mode.IMG2IMG, input_images=(image,), strength=0.5))
    gone = replace(image, name=f"input-{64 * '2'}.png")
    async with talk(a_spec(tmp_path, Zoo(folder=tmp_path))) as worker:
        # When a picture is made from it, and one from an image that is not there
        other = replace(job, job_id="b", request=replace(job.request, input_images=(gone,)))
        worker.process.send(RunJobs(jobs=(job,)))
        worker.process.send(RunJobs(jobs=(other,)))
        await until(lambda: {"JobDone", "JobFailed"} <= set(worker.names), "both ends")
    # Then the first is green, and the second has failed for that reason
    with Image.open(tmp_path / "outputs" / "a.png") as picture:
        assert picture.getpixel((0, 0)) == (0, 255, 0)
    failed = next(message for message in worker.said if isinstance(message, JobFailed))
    assert failed.failure.code == "artifact_not_found"


def together(*jobs: RunJobs) -> RunJobs:
    """Whose jobs are each one's only one."""
    return RunJobs(jobs=tuple(job for each in jobs for job in each.jobs))


async def test_jobs_made_together_end_each_for_itself(tmp_path: Path) -> None:
    async with talk(a_spec(tmp_path, Zoo(folder=tmp_path))) as worker:
        await worker.until_said("WorkerReady")
        # When one of four that are made together waits, one fails, and one is stopped while the first still waits
        worker.process.send(together(run("a", "waits for a watcher"), run("b"), run("c", "fails"), run("d")))
        await until(lambda: worker.names.count("StepDone") == 4, "everybody's first step")
        worker.process.send(StopJob(job_id="d"))
        worker.process.send(SendPreviews(job_id="a"))
        await until(lambda: worker.names.count("JobDone") == 2 and "JobFailed" in worker.names, "the ends")
        # Then each has its own end
        ends = {
            message.job_id: type(message)
            for message in worker.said
            if isinstance(message, JobDone | JobFailed | JobStopped)
        }
        assert ends == {"a": JobDone, "b": JobDone, "c": JobFailed, "d": JobStopped}
        assert Zoo(folder=tmp_path).batches() == [4]
        # And the one that was stopped heard of it before the others' last step
        order = [type(message) for message in worker.said if getattr(message, "job_id", "") in ("a", "d")]
        assert order.index(JobStopped) < order.index(DeviceFree)


async def test_a_batch_of_which_nothing_is_wanted_is_not_begun(tmp_path: Path) -> None:
    async with talk(a_spec(tmp_path, Zoo(folder=tmp_path))) as worker:
        worker.process.send(run("a", "waits at the gate"))
        worker.process.send(together(run("b"), run("c")))
        await worker.until_said("WorkerReady", "StepDone")
        for job_id in ("b", "c"):
            worker.process.send(StopJob(job_id=job_id))
        worker.process.send(StopJob(job_id="a"))
        await until(lambda: worker.names.count("JobStopped") == 3, "three ends")
        assert Zoo(folder=tmp_path).batches() == [1]


async def test_what_the_pipe_has_no_room_for_is_sent_in_order(tmp_path: Path) -> None:
    async with talk(a_spec(tmp_path, Zoo(folder=tmp_path))) as worker:
        await worker.until_said("WorkerReady")
        # Given a worker that stands still
        assert worker.process.pid is not None
        os.kill(worker.process.pid, signal.SIGSTOP)
        # When it is sent more than a pipe holds, with two stops at the end
        worker.process.send(run("a", "waits at the gate"))
        for job_id in ("b", "c"):
            worker.process.send(run(job_id, "a tea pot " * 200_000))
        for job_id in ("b", "a"):
            worker.process.send(StopJob(job_id=job_id))
        # Then nothing of it was waited for, and all of it comes in order once the worker goes on
        os.kill(worker.process.pid, signal.SIGCONT)
        await until(lambda: len([name for name in worker.names if name.startswith("Job")]) == 3, "three ends")
        ends = [message for message in worker.said if isinstance(message, JobDone | JobStopped)]
        assert {(type(end).__name__, end.job_id) for end in ends} == {
            ("JobStopped", "a"),
            ("JobStopped", "b"),
            ("JobDone", "c"),
        }


async def test_a_worker_that_dies_with_much_unread_has_ended(tmp_path: Path) -> None:
    async with talk(a_spec(tmp_path, Zoo(folder=tmp_path))) as worker:
        await worker.until_said("WorkerReady")
        # Given a worker that stands still and has more to read than a pipe holds
        assert worker.process.pid is not None
        os.kill(worker.process.pid, signal.SIGSTOP)
        worker.process.send(run("a", "a tea pot " * 200_000))
        worker.process.send(run("b"))
        # When it is killed
        worker.process.kill()
        # Then its end is told, and sending and killing are fine afterwards
        assert await worker.exit_status() == -signal.SIGKILL
        worker.process.send(run("c"))
        worker.process.kill()


async def test_a_message_that_is_not_understood_keeps_no_other_from_being_heard(tmp_path: Path) -> None:
    # Given a listener that fails at the first step
    failures: list[BaseException | None] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context.get("exception")))
    async with talk(a_spec(tmp_path, Zoo(folder=tmp_path))) as worker:
        hear = worker.process._on_message  # pyright: ignore[reportPrivateUsage]

        def fail_once(message: FromWorker) -> None:
            hear(message)
            if worker.names[-1:] == ["StepDone"] and not failures:
                raise RuntimeError("no")

        worker.process._on_message = fail_once  # pyright: ignore[reportPrivateUsage]
        # When a job is made
        worker.process.send(run("a"))
        # Then all of it is heard, and the failure is told
        await worker.until_said("WorkerReady", *STEPS, "DeviceFree", "JobDone")
        assert [str(failure) for failure in failures] == ["no"]


def test_a_worker_that_dies_with_something_unread_is_known_to_have_ended_in_the_servers_loop(tmp_path: Path) -> None:
    async def scenario() -> int | None:
        async with talk(a_spec(tmp_path, Zoo(folder=tmp_path))) as worker:
            await worker.until_said("WorkerReady")
            assert worker.process.pid is not None
            # Given a loop that does not look for a while, and meanwhile hearts beat
            time.sleep(0.3)  # noqa: ASYNC251 - that is the point
            # When the worker dies before it has read what it was sent
            os.kill(worker.process.pid, signal.SIGSTOP)
            worker.process.send(run("a"))
            os.kill(worker.process.pid, signal.SIGKILL)
            time.sleep(0.3)  # noqa: ASYNC251 - that is the point
            # Then its end is known soon
            return await worker.exit_status()

    with asyncio.Runner(loop_factory=event_loop_factory()) as runner:
        assert runner.run(scenario()) == -signal.SIGKILL
