"""A queue, a pool and an engine in one: paints flat pictures in the server's own loop, at once or step by step."""

import asyncio
import io

from PIL import Image

from danqing.core.clock import utc_now
from danqing.core.errors import DanqingError
from danqing.core.events import PreviewMade, ProgressMade, StateChanged
from danqing.core.picture_ports import ArtifactStore
from danqing.core.ports import EventBus, JobStore
from danqing.core.states import JobState
from danqing.core.types import (
    Artifact,
    ArtifactKind,
    DeviceStatus,
    EncodedPicture,
    GenerationRequest,
    Job,
    JobFailure,
    PoolStatus,
    Progress,
    Stage,
    WorkerState,
    WorkerStatus,
)

COLOUR = (30, 60, 200)
UPSCALING_PARTS = 2
FILES = {
    ArtifactKind.ORIGINAL: ("{}.png", "PNG"),
    ArtifactKind.PREVIEW: ("{}.webp", "WEBP"),
    ArtifactKind.UPSCALED: ("{}-upscaled.png", "PNG"),
}


class Painter:
    """Implements core's JobQueue and WorkerPool. Every move goes through the store and the bus, as a real one's does.

    automatic: each published job is painted without being asked, once `begin` is set, which it is from the start: all
    its steps, previews where they are wanted, and everything asked for beside the original. A picture that begins with
    others is the first of them, resized. failure: instead of a picture, if it is set. is_patient: a job is begun only
    once previews of it are wanted.
    """

    def __init__(
        self,
        *,
        store: JobStore,
        events: EventBus,
        artifacts: ArtifactStore,
        automatic: bool,
        state: WorkerState = WorkerState.READY,
        device: DeviceStatus | None = None,
        worker: str = "painter",
    ) -> None:
        """worker: what it is called where it is one of several machines' workers."""
        self._store = store
        self._events = events
        self._artifacts = artifacts
        self._automatic = automatic
        self._worker = worker
        self._painting: dict[str, asyncio.Task[None]] = {}
        self.begin = asyncio.Event()
        self.begin.set()
        self.previews_wanted: set[str] = set()
        self.state = state
        self.device = device
        self.models: tuple[str, ...] = ("tiny", "upscaler")
        self.failure: DanqingError | None = None
        self.is_patient = False

    def offer(self, job: Job) -> bool:
        return False

    async def publish(self, job: Job) -> None:
        if self._automatic:
            task = asyncio.create_task(self._paint(job.id))
            self._painting[job.id] = task
            task.add_done_callback(lambda _: self._painting.pop(job.id))

    async def move_up(self, job: Job) -> None:
        pass

    async def withdraw(self, job_id: str) -> None:
        pass

    async def stop_job(self, job_id: str) -> None:
        self.previews_wanted.discard(job_id)
        if (task := self._painting.get(job_id)) is not None:
            task.cancel()

    async def send_previews(self, job_id: str) -> None:
        self.previews_wanted.add(job_id)

    def status(self) -> PoolStatus:
        worker = WorkerStatus(
            id=self._worker, state=self.state, pid=1, restarts=0, models=self.models, device=self.device
        )
        return PoolStatus(workers=(worker,))

    def takes_jobs(self, *, when_loaded: bool) -> bool:
        status = self.status()
        return status.accepts_jobs or (when_loaded and status.is_coming_up)

    async def _paint(self, job_id: str) -> None:
        await self.begin.wait()
        while self.is_patient and job_id not in self.previews_wanted:  # noqa: ASYNC110 - it is not told
            await asyncio.sleep(0.001)
        job = await self._store.get(job_id)
        await self.start(job_id)
        total = job.request.num_inference_steps
        for step in range(1, total + 1):
            if step < total and job_id in self.previews_wanted:
                self.preview(job_id, step, total)
            self.step(job_id, step, total)
            await asyncio.sleep(0)  # watchers keep up
        await (self.fail(job_id) if self.failure else self.finish(job_id))

    async def start(self, job_id: str) -> None:
        """pending → processing."""
        self._tell(await self._store.claim(job_id, self._worker, utc_now()))

    def step(self, job_id: str, step: int, total: int, *, stage: Stage = Stage.DENOISING) -> None:
        """Tells of a finished step (of half a second each) or, while upscaling, of a finished part."""
        progress = Progress(stage=stage, step=step, total_steps=total, elapsed_s=step / 2)
        self._events.publish(ProgressMade(job_id=job_id, progress=progress))

    def preview(self, job_id: str, step: int, total: int) -> None:
        """Tells what the picture looks like after that step, whether somebody wants it or not."""
        shade = 255 * step // total
        picture = _encoded(Image.new("RGB", (32, 32), (shade, shade, shade)), "JPEG")
        self._events.publish(PreviewMade(job_id=job_id, step=step, total_steps=total, picture=picture))

    async def generate(self, job_id: str) -> None:
        """processing → generated, with the original and, if it is asked for, the preview."""
        job = await self._store.get(job_id)
        self._tell(await self._store.generate(job_id, len(job.attempts), self._first_files(job), []))

    async def finish(self, job_id: str) -> None:
        """processing or generated → completed, over generated if something is to be upscaled."""
        job = await self._store.get(job_id)
        artifacts: list[Artifact] = []
        if ArtifactKind.UPSCALED in job.request.further:
            if job.state is JobState.PROCESSING:
                await self.generate(job_id)
            for part in range(1, UPSCALING_PARTS + 1):
                self.step(job_id, part, UPSCALING_PARTS, stage=Stage.UPSCALING)
            artifacts.append(self._stored(job, ArtifactKind.UPSCALED))
        elif job.state is JobState.PROCESSING:
            artifacts += self._first_files(job)
        self._tell(await self._store.complete(job_id, len(job.attempts), artifacts, [], utc_now()))

    async def fail(self, job_id: str) -> None:
        """processing or generated → failed."""
        job = await self._store.get(job_id)
        assert self.failure is not None
        failure = JobFailure(code=self.failure.code, message=self.failure.public_message)
        self._tell(await self._store.fail(job_id, len(job.attempts), failure, utc_now()))

    def _first_files(self, job: Job) -> list[Artifact]:
        kinds = [ArtifactKind.ORIGINAL]
        if ArtifactKind.PREVIEW in job.request.further:
            kinds.append(ArtifactKind.PREVIEW)
        return [self._stored(job, kind) for kind in kinds]

    def _stored(self, job: Job, kind: ArtifactKind) -> Artifact:
        pattern, file_format = FILES[kind]
        image = self._picture(job.request)
        if kind is ArtifactKind.UPSCALED:
            image = image.resize((4 * image.width, 4 * image.height), Image.Resampling.NEAREST)
        picture, name = _encoded(image, file_format), pattern.format(job.id)
        self._artifacts.write(name, picture.content)
        return Artifact(
            kind=kind,
            name=name,
            media_type=picture.media_type,
            width=picture.width,
            height=picture.height,
            size_bytes=len(picture.content),
        )

    def _picture(self, request: GenerationRequest) -> Image.Image:
        size = request.width, request.height
        if not request.inputs:
            return Image.new("RGB", size, COLOUR)
        with Image.open(io.BytesIO(self._artifacts.read(request.inputs[0].name))) as begun_with:
            return begun_with.convert("RGB").resize(size)

    def _tell(self, job: Job | None) -> None:
        assert job is not None
        if job.state.is_final:
            self.previews_wanted.discard(job.id)
        self._events.publish(StateChanged(job=job))


def _encoded(image: Image.Image, file_format: str) -> EncodedPicture:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **({"compress_level": 1} if file_format == "PNG" else {}))
    return EncodedPicture(
        width=image.width,
        height=image.height,
        media_type=f"image/{file_format.lower()}",
        content=buffer.getvalue(),
    )
