"""A queue, a pool and an engine in one: paints flat pictures in the server's own loop, at once or step by step."""

import asyncio
import io

from PIL import Image

from danqing.core.errors import DanqingError
from danqing.core.events import ProgressMade, StateChanged
from danqing.core.ports import ArtifactStore, EventBus, JobStore
from danqing.core.studio import utc_now
from danqing.core.types import (
    Artifact,
    ArtifactKind,
    DeviceStatus,
    Job,
    JobFailure,
    PoolStatus,
    Progress,
    WorkerState,
    WorkerStatus,
)


class Painter:
    """Implements core's JobQueue and WorkerPool. Every move goes through the store and the bus, as a real one's does.

    automatic: each published job is painted without being asked; failure: instead of a picture, if it is set.
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
    ) -> None:
        self._store = store
        self._events = events
        self._artifacts = artifacts
        self._automatic = automatic
        self._painting: set[asyncio.Task[None]] = set()
        self.state = state
        self.device = device
        self.failure: DanqingError | None = None

    async def publish(self, job: Job) -> None:
        if self._automatic:
            task = asyncio.create_task(self._paint(job.id))
            self._painting.add(task)
            task.add_done_callback(self._painting.discard)

    async def withdraw(self, job_id: str) -> None:
        pass

    async def stop_job(self, job_id: str) -> None:
        pass

    def status(self) -> PoolStatus:
        worker = WorkerStatus(id="painter", state=self.state, pid=1, restarts=0, models=("tiny",), device=self.device)
        return PoolStatus(workers=(worker,))

    async def _paint(self, job_id: str) -> None:
        await self.start(job_id)
        self.step(job_id, 1, 1)
        await (self.fail(job_id) if self.failure else self.finish(job_id))

    async def start(self, job_id: str) -> None:
        self._tell(await self._store.claim(job_id, "painter", utc_now()))

    def step(self, job_id: str, step: int, total: int) -> None:
        self._events.publish(
            ProgressMade(job_id=job_id, progress=Progress(stage="denoise", step=step, total_steps=total))
        )

    async def finish(self, job_id: str) -> None:
        job = await self._store.get(job_id)
        width, height = job.request.width, job.request.height
        buffer = io.BytesIO()
        Image.new("RGB", (width, height), (30, 60, 200)).save(buffer, "PNG", compress_level=1)
        self._artifacts.write(f"{job_id}.png", buffer.getvalue())
        picture = Artifact(
            kind=ArtifactKind.ORIGINAL,
            name=f"{job_id}.png",
            media_type="image/png",
            width=width,
            height=height,
            size_bytes=buffer.tell(),
        )
        self._tell(await self._store.complete(job_id, len(job.attempts), [picture], [], utc_now()))

    async def fail(self, job_id: str) -> None:
        job = await self._store.get(job_id)
        assert self.failure is not None
        failure = JobFailure(code=self.failure.code, message=self.failure.public_message)
        self._tell(await self._store.fail(job_id, len(job.attempts), failure, utc_now()))

    def _tell(self, job: Job | None) -> None:
        assert job is not None
        self._events.publish(StateChanged(job=job))
