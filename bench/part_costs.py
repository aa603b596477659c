"""What the shared parts cost, each measured here by itself: processor time of the part's own process for one operation.

For `capacity.py`. Processor time, not rates: other programs on the machine take part in rates, and hardly in that.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil
import redis
from served import running
from shared_parts import HERE

from danqing.core.events import Event, PreviewMade, ProgressMade, StateChanged
from danqing.core.states import JobState
from danqing.core.types import Attempt, EncodedPicture, Job, Progress, Stage
from danqing.events.redis_bus import RedisEventBus
from danqing.redis_link import RedisLink
from tests.fakes.domain import a_job
from tests.fakes.job_store import InMemoryJobStore

JOBS_AT_ONCE = 4  # that a node makes, or has in one batch: their events go together
PREVIEW_BYTES = 8_000


@dataclass(frozen=True, kw_only=True)
class Cost:
    """part_ms, client_ms: processor time for one operation, in the part and in who uses it. per_s: how many were done
    in a second, here and now.
    """

    part_ms: float
    client_ms: float
    per_s: float

    def __str__(self) -> str:
        return f"{self.part_ms:.3f} ms, its client {self.client_ms:.3f} ms, {self.per_s:.0f}/s here"


def busy_s(*processes: int) -> float:
    """Processor time of these processes, and of all below them; by steps of 10 ms each."""
    total = 0.0
    for pid in processes:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            times = one.cpu_times()
            total += times.user + times.system
    return total


def redis_busy_s(url: str) -> float:
    """As Redis itself counts it, by microseconds."""
    with redis.Redis.from_url(url) as client:
        told = client.info("cpu")
        return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])


class Meter:
    """Times a span of so many operations. part: tells its processor time so far."""

    def __init__(self, part: Callable[[], float]) -> None:
        self._part = part

    def __enter__(self) -> "Meter":
        self._busy, self._own, self._began = self._part(), time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.part_s = self._part() - self._busy
        self.own_s = time.process_time() - self._own
        self.seconds = time.perf_counter() - self._began

    def cost(self, operations: int) -> Cost:
        """Of one."""
        return Cost(
            part_ms=1000 * self.part_s / operations,
            client_ms=1000 * self.own_s / operations,
            per_s=operations / self.seconds,
        )


async def job_events(url: str, jobs: int, *, steps: int, watched: bool, previews: bool = False) -> Cost:
    """All events of a job, from one process to another: its states and its steps. watched: there, by one client."""
    at_home, elsewhere = RedisLink(url), RedisLink(url)
    here, there = RedisEventBus(at_home, store=InMemoryJobStore()), RedisEventBus(elsewhere, store=InMemoryJobStore())
    made = [a_job() for _ in range(jobs)]
    async with here.at_work(), there.at_work(), AsyncExitStack() as stack:
        seen = [await stack.enter_async_context(there.watch(job.id)) for job in made] if watched else []
        with Meter(partial(redis_busy_s, url)) as meter:
            for begin in range(0, jobs, JOBS_AT_ONCE):
                some = made[begin : begin + JOBS_AT_ONCE]
                for at_once in zip(*(_events(job, steps, previews) for job in some), strict=True):
                    for event in at_once:
                        here.publish(event)
                    await here.flushed(wait_s=30)
            for events in seen:
                async for event in events:
                    if isinstance(event, StateChanged) and event.job.state.is_final:
                        break
    await at_home.aclose()
    await elsewhere.aclose()
    return meter.cost(jobs)


def _events(job: Job, steps: int, previews: bool) -> Iterator[Event]:
    picture = EncodedPicture(width=256, height=256, media_type="image/jpeg", content=os.urandom(PREVIEW_BYTES))
    yield StateChanged(job=job)
    attempt = Attempt(number=1, worker="node/cpu", started_at=job.created_at)
    yield StateChanged(job=replace(job, state=JobState.PROCESSING, attempts=(attempt,), started_at=job.created_at))
    for step in range(1, steps + 1):
        progress = Progress(stage=Stage.DENOISING, step=step, total_steps=steps, elapsed_s=step / 10)
        yield ProgressMade(job_id=job.id, progress=progress)
        if previews and step < steps:
            yield PreviewMade(job_id=job.id, step=step, total_steps=steps, picture=picture)
    done = replace(attempt, ended_at=job.created_at)
    yield StateChanged(job=replace(job, state=JobState.COMPLETED, attempts=(done,), finished_at=job.created_at))


def celery_messages(folder: Path, url: str, messages: int) -> tuple[Cost, Cost]:
    """Of publishing a message, and of taking one: fetched, run (it does nothing) and acknowledged."""
    os.environ["CELERY_NOOP_BROKER"] = url
    sys.modules.pop("celery_noop", None)
    import celery_noop

    broker = partial(redis_busy_s, url)
    celery_noop.noop.delay("a first connection")
    with Meter(broker) as publishing_meter:
        for number in range(messages):
            celery_noop.noop.delay(f"00000000-0000-0000-0000-{number:012}")
    variables = {"CELERY_NOOP_BROKER": url, "PYTHONPATH": str(HERE)}
    worker = ["celery", "-A", "celery_noop:celery", "worker", "-P", "threads", "-c", "1", "-l", "warning"]
    with redis.Redis.from_url(url) as client, running([sys.executable, "-m", *worker], folder, **variables) as process:
        while int(client.llen("celery")) > messages - messages // 10:
            time.sleep(0.01)
        before = int(client.llen("celery"))
        with Meter(broker) as part, Meter(partial(busy_s, process.pid)) as worker_meter:
            while int(client.llen("celery")) > messages // 10:
                time.sleep(0.05)
            taken = before - int(client.llen("celery"))
    taking = Cost(
        part_ms=1000 * part.part_s / taken, client_ms=1000 * worker_meter.part_s / taken, per_s=taken / part.seconds
    )
    return publishing_meter.cost(messages), taking
