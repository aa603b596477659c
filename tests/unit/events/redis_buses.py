"""Event buses as two processes have them, over one Redis and one store."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType

from danqing.core.events import Event
from danqing.core.types import Progress
from danqing.events.redis_bus import RedisEventBus
from danqing.redis_link import RedisLink
from tests.contracts.event_bus import step
from tests.fakes.domain import a_job
from tests.fakes.job_store import InMemoryJobStore

SOON_S = 20.0


class AnyJobs(InMemoryJobStore):
    """Knows every job, and nothing new of any."""

    async def ages(self, job_ids: Collection[str]) -> Mapping[str, tuple[int, int]]:
        return dict.fromkeys(job_ids, (-1, -1))


@asynccontextmanager
async def a_bus(url: str, store: InMemoryJobStore | None = None, **rules: float) -> AsyncGenerator[RedisEventBus]:
    """At work. rules: of `RedisEventBus`."""
    link = RedisLink(url, timeout_s=20.0, rest_s=0.05)
    terms = {"subscribe_wait_s": SOON_S} | rules
    bus = RedisEventBus(link, store=store or AnyJobs(), **terms)  # type: ignore[arg-type]
    async with bus.at_work():
        yield bus
    await link.aclose()


async def all_arrived(publisher: RedisEventBus, watcher: RedisEventBus) -> None:
    """Waits until the watcher has heard what the publisher has published."""
    marker = a_job()
    async with asyncio.timeout(SOON_S), watcher.watch(marker.id) as events:
        publisher.publish(step(marker, 1))
        await anext(events)


class TwoProcesses:
    """An EventBus of which one process publishes, and another one watches and asks."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "TwoProcesses":
        self.publisher = await self._stack.enter_async_context(a_bus(self._url))
        self.watcher = await self._stack.enter_async_context(a_bus(self._url))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def publish(self, event: Event) -> None:
        self.publisher.publish(event)

    @asynccontextmanager
    async def watch(self, job_id: str, *, only_states: bool = False) -> AsyncGenerator[AsyncIterator[Event]]:
        """What was published before is with Redis before."""
        assert await self.publisher.flushed(wait_s=SOON_S)
        async with self.watcher.watch(job_id, only_states=only_states) as events:
            yield events

    async def progress(self, job_id: str) -> Progress | None:
        return await self.watcher.progress(job_id)
