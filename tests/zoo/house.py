"""A server without HTTP: the real store, queue, events, supervisor and dispatcher over zoo engines in processes."""

import asyncio
import io
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from PIL import Image

from danqing.blobs.local import LocalArtifactStore
from danqing.core.batching import BatchRule
from danqing.core.callers import LOCAL, Caller
from danqing.core.events import Event, PreviewMade, ProgressMade, StateChanged
from danqing.core.images import StagedImage
from danqing.core.orders import Limits, Order
from danqing.core.states import JobState
from danqing.core.studio import Studio
from danqing.core.types import ArtifactKind, Job, Mode, Progress, RequestDraft, Stage, WorkerStatus
from danqing.core.upscaling import UPSCALER
from danqing.events.in_process import InProcessEventBus
from danqing.queue.embedded import EmbeddedQueue, QueueRules
from danqing.store.job_store import SqlJobStore
from danqing.store.sqlite import SqliteStores
from danqing.workers.dispatcher import Dispatcher
from danqing.workers.factory import ArtifactStoreFactory, EngineFactory
from danqing.workers.job_rules import JobRules
from danqing.workers.spec import WorkerRules, WorkerSpec
from danqing.workers.supervisor import Supervisor
from tests.fakes.domain import a_card
from tests.fakes.studio_parts import FixedCatalogue
from tests.zoo.engines import STEPS, Zoo

DEADLINE_S = 30.0
RED = (200, 10, 20)
FAST = WorkerRules(heartbeat_s=0.2, check_s=0.05, first_backoff_s=0.01, exit_grace_s=2.0)
JOB_RULES = JobRules(task_timeout_s=60.0, stop_grace_s=0.2)


async def until(come: Callable[[], bool], what: str) -> None:
    """Waits for a condition; fails with its name when it does not come."""
    deadline = time.monotonic() + DEADLINE_S
    while not come():
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.005)


async def until_progress(studio: Studio, job_id: str, come: Callable[[Progress], bool] = lambda _: True) -> None:
    """Waits until the job's newest progress is so; any, unless something else is said."""
    deadline = time.monotonic() + DEADLINE_S
    while (made := await studio.progress(job_id)) is None or not come(made):
        assert time.monotonic() < deadline, f"no such progress; the newest: {made}"
        await asyncio.sleep(0.005)


def a_spec(folder: Path, zoo: Zoo, *, number: int = 1, batch_pictures: int = 1) -> WorkerSpec:
    """A worker with a zoo engine; pictures go to folder/outputs. batch_pictures: made together, at most."""
    return WorkerSpec(
        id=f"w{number}",
        device="cpu",
        models=("tiny", UPSCALER),
        engine=EngineFactory(target="tests.zoo.engines:build_zoo", argument=zoo),
        artifacts=ArtifactStoreFactory(target="danqing.blobs.local:LocalArtifactStore", argument=folder / "outputs"),
        batches=BatchRule(pixels=1 << 24, pictures=batch_pictures, cards=(a_card(),)),
    )


@dataclass(frozen=True, kw_only=True)
class House:
    """The parts, running."""

    zoo: Zoo
    store: SqlJobStore
    queue: EmbeddedQueue
    events: InProcessEventBus
    artifacts: LocalArtifactStore
    supervisor: Supervisor
    dispatcher: Dispatcher
    studio: Studio

    def worker(self, number: int = 1) -> WorkerStatus:
        """Its status."""
        return self.supervisor.status().workers[number - 1]

    async def until_ready(self) -> None:
        """Waits until every worker has loaded."""
        for worker in self.supervisor.workers:
            await asyncio.wait_for(worker.free(), DEADLINE_S)

    async def submit(
        self,
        prompt: str,
        *further: ArtifactKind,
        seed: int | None = None,
        priority: int = 0,
        width: int = 64,
        owner: str = LOCAL.owner,
    ) -> Job:
        """Accepts a job; small, so that encoding takes no time."""
        draft = RequestDraft(prompt=prompt, width=width, height=64, seed=seed, further=further)
        caller = Caller(owner=owner, sees_all=True)
        return await self.studio.submit(Order(draft=draft, priority=priority), caller=caller)

    async def submit_picture(self, prompt: str, *further: ArtifactKind, side: int = 32, priority: int = 0) -> Job:
        """Accepts a job that enlarges a red picture; the prompt says what the engine does."""
        file = io.BytesIO()
        Image.new("RGB", (side, side), RED).save(file, "PNG")
        path = self.artifacts.staging() / f"{uuid.uuid4()}.png"
        path.write_bytes(file.getvalue())
        image = StagedImage(path=path, sha256=sha256(file.getvalue()).hexdigest(), width=side, height=side)
        draft = RequestDraft(prompt=prompt, mode=Mode.UPSCALE, input_images=(image,), further=further)
        return await self.studio.submit(Order(draft=draft, priority=priority))

    async def ended(self, job: Job) -> Job:
        """Waits for the job's end."""
        return await asyncio.wait_for(self.studio.wait(job.id), DEADLINE_S)

    async def under_way(self, job: Job) -> None:
        """Waits until the job has made its first step."""
        await until_progress(self.studio, job.id)

    async def enlarging(self, job: Job) -> None:
        """Waits until the job's first part is enlarged."""
        await until_progress(self.studio, job.id, lambda made: made.stage is Stage.UPSCALING)

    async def denoised(self, *jobs: Job) -> None:
        """Waits until the last step of each is made."""
        for job in jobs:
            await until_progress(self.studio, job.id, lambda made: made.step == STEPS)

    async def generated(self, job: Job) -> None:
        """Waits until the job's original is stored, and the worker's hands show that."""
        async with asyncio.timeout(DEADLINE_S), self.studio.watch(job.id) as events:
            async for event in events:
                if isinstance(event, StateChanged) and event.job.state is JobState.GENERATED:
                    return
        raise AssertionError("it ended")

    async def history(self, job: Job, *, previews: bool = False, gate: str | None = None) -> list[Event]:
        """Everything that happens to the job from now to its end. gate: opened as soon as it is watched."""
        async with asyncio.timeout(DEADLINE_S), self.studio.watch(job.id, previews=previews) as events:
            if gate is not None:
                self.zoo.open_gate(gate)
            return [event async for event in events]


def states(history: list[Event]) -> list[str]:
    """The states in a history."""
    return [event.job.state.value for event in history if isinstance(event, StateChanged)]


def steps(history: list[Event], stage: Stage = Stage.DENOISING) -> list[int]:
    """The steps of a stage in a history."""
    told = [event.progress for event in history if isinstance(event, ProgressMade)]
    return [progress.step for progress in told if progress.stage is stage]


def previews(history: list[Event]) -> list[int]:
    """The steps in a history that a preview was made of."""
    return [event.step for event in history if isinstance(event, PreviewMade)]


@asynccontextmanager
async def a_house(
    folder: Path,
    *,
    zoo: Zoo | None = None,
    workers: int = 1,
    worker_rules: WorkerRules = FAST,
    job_rules: JobRules = JOB_RULES,
    ready: bool = True,
    batch_pictures: int = 1,
    queue_rules: QueueRules | None = None,
) -> AsyncIterator[House]:
    """Opens the store in folder, recovers, starts the workers; stops everything at the end, at once."""
    zoo = zoo or Zoo(folder=folder)
    stores = await asyncio.to_thread(SqliteStores.open, folder / "jobs.db")
    store = stores.jobs
    queue, events = EmbeddedQueue(queue_rules), InProcessEventBus()
    specs = [a_spec(folder, zoo, number=number, batch_pictures=batch_pictures) for number in range(1, workers + 1)]
    supervisor = Supervisor(specs, rules=worker_rules)
    artifacts = LocalArtifactStore(folder / "outputs")
    dispatcher = Dispatcher(
        queue=queue, store=store, supervisor=supervisor, events=events, artifacts=artifacts, rules=job_rules
    )
    studio = Studio(
        store=store,
        queue=queue,
        pool=supervisor,
        events=events,
        catalogue=FixedCatalogue(a_card()),
        artifacts=artifacts,
        limits=Limits(max_queue_size=100),
    )
    house = House(
        zoo=zoo,
        store=store,
        queue=queue,
        events=events,
        artifacts=artifacts,
        supervisor=supervisor,
        dispatcher=dispatcher,
        studio=studio,
    )
    try:
        await dispatcher.recover()
        dispatcher.start()
        if ready:
            await house.until_ready()
        yield house
    finally:
        await dispatcher.stop(deadline_s=0)
        events.close()
        await stores.close()
