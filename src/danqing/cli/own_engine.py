"""Makes a picture without a server: the server's own parts run in this process, in a data dir that is thrown away."""

import asyncio
import tempfile
from pathlib import Path

from danqing.cli.order import FinishedPicture, PictureOrder, Report
from danqing.config import Settings
from danqing.core.errors import EngineFailure
from danqing.core.events import PreviewMade, ProgressMade, StateChanged
from danqing.core.orders import Order
from danqing.core.states import JobState
from danqing.core.types import Job, RequestDraft
from danqing.wiring import Runtime, for_one_process, open_runtime


def make_here(order: PictureOrder, settings: Settings, report: Report) -> FinishedPicture:
    """Starts the engine in a worker process, makes the picture and stops it. Blocking. Raises DanqingError."""
    with tempfile.TemporaryDirectory(prefix="danqing-") as folder:
        thrown_away = {"data_dir": Path(folder), "output_dir": None}
        return asyncio.run(_make(order, for_one_process(settings).model_copy(update=thrown_away), report))


async def _make(order: PictureOrder, settings: Settings, report: Report) -> FinishedPicture:
    report(f"loading {settings.model}", 0)
    async with open_runtime(settings) as runtime:
        await runtime.until_ready()
        draft = RequestDraft(
            prompt=order.prompt,
            width=order.width,
            height=order.height,
            num_inference_steps=order.num_inference_steps,
            seed=order.seed,
            loras=order.loras,
            step_cache=order.step_cache,
        )
        job = await runtime.studio.submit(Order(draft=draft))
        return _take(await _follow(job, runtime, report), runtime)


async def _follow(job: Job, runtime: Runtime, report: Report) -> Job:
    """Returns the ended job. Raises ModelLoadFailure when no worker is left that could make it."""
    told, broken = asyncio.create_task(_tell(job, runtime, report)), asyncio.create_task(runtime.until_broken())
    try:
        await asyncio.wait((told, broken), return_when=asyncio.FIRST_COMPLETED)
        return told.result() if told.done() else broken.result()
    finally:
        told.cancel()
        broken.cancel()
        await asyncio.wait((told, broken))


async def _tell(job: Job, runtime: Runtime, report: Report) -> Job:
    async with runtime.studio.watch(job.id) as events:
        async for event in events:
            match event:
                case ProgressMade(progress=progress):
                    report(progress.stage, progress.percentage)
                case StateChanged():
                    job = event.job
                case PreviewMade():
                    pass
    return job


def _take(job: Job, runtime: Runtime) -> FinishedPicture:
    if job.state is not JobState.COMPLETED or job.original is None:
        raise EngineFailure(job.failure.message if job.failure else None)
    content = runtime.artifacts.read(job.original.name)
    return FinishedPicture(content=content, seed=job.request.seed, adjustments=job.adjustments)
