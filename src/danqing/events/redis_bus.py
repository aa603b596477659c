"""Events over Redis: what happens to a job in one process is told to those who watch it in any other."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime

from danqing.core.background import outliving, running
from danqing.core.events import Event, StateChanged
from danqing.core.shared_store import JobAges
from danqing.core.types import Progress
from danqing.events.buffer import SIZE
from danqing.events.comparing import Comparing
from danqing.events.outgoing import COMPLETED_KEY, Outgoing, channel_of, completion_in, progress_key
from danqing.events.watchers import Watchers
from danqing.events.wire import ORIGIN_BYTES, decoded, origin_of, progress_in
from danqing.redis_link import Hearing, RedisAway, RedisLink

COMPARE_S = 2.0
COMPARE_AWAY_S = 0.5
SUBSCRIBE_WAIT_S = 1.0
FLUSH_S = 1.0
UNWATCHED_LOOK_S = 0.05


class RedisEventBus:
    """For use from one event loop only, within `at_work`.

    Watchers in the process that publishes an event are told at once, those elsewhere by Redis. What Redis loses, or
    cannot carry while it is away, the store knows: it is asked every few seconds, and more often while Redis is away,
    for the states of the jobs that are watched. So no watcher misses the end of a job, nor that it was removed; steps
    and previews may be lost.
    """

    def __init__(
        self,
        link: RedisLink,
        *,
        store: JobAges,
        buffer_size: int = SIZE,
        compare_s: float = COMPARE_S,
        compare_away_s: float = COMPARE_AWAY_S,
        subscribe_wait_s: float = SUBSCRIBE_WAIT_S,
    ) -> None:
        """buffer_size: see `EventBuffer`. compare_s: between two looks at the store; compare_away_s: without Redis.
        subscribe_wait_s: how long a watch may wait for Redis before it begins without it."""
        self._link = link
        self._origin = secrets.token_hex(ORIGIN_BYTES // 2).encode()
        self._watchers = Watchers(buffer_size)
        self._outgoing = Outgoing(link, origin=self._origin, buffer_size=buffer_size)
        self._hearing = Hearing(link, heard=self._heard, changed=self._look_soon)
        self._comparing = Comparing(store, tell=self._tell, gone=self._watchers.end)
        self._compare_s = compare_s
        self._compare_away_s = compare_away_s
        self._subscribe_wait_s = subscribe_wait_s
        self._look = asyncio.Event()

    @property
    def lost(self) -> int:
        """Events that did not reach Redis."""
        return self._outgoing.lost

    @asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None]:
        """Inside, events go to Redis and come from it. On leaving what is still to be sent is, if that is soon done."""
        await self._hearing.start(wait_s=self._subscribe_wait_s)
        async with (
            running(self._compare(), name="compares-watched-jobs"),
            running(self._outgoing.run(), name="events-to-redis"),
        ):
            try:
                yield
            finally:
                self.close()
                await self._outgoing.flushed(wait_s=FLUSH_S)
                await self._hearing.stop()

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many events slow watchers were not told, by kind, and how many Redis did not take."""
        return {**self._watchers.dropped, "lost": self.lost}

    def publish(self, event: Event) -> None:
        """Never blocks, and never drops a StateChanged while Redis takes what it is given."""
        self._tell(event)
        self._outgoing.put(event)

    @asynccontextmanager
    async def watch(self, job_id: str, *, only_states: bool = False) -> AsyncGenerator[AsyncIterator[Event]]:
        """See the port. The iterator ends when the bus is closed, or the job is gone."""
        buffer = self._watchers.enter(job_id, only_states=only_states)
        try:
            await self._hearing.listen(channel_of(job_id), wait_s=self._subscribe_wait_s)
            yield buffer.read()
        finally:
            self._watchers.leave(job_id, buffer)
            if job_id not in self._watchers:
                self._hearing.leave(channel_of(job_id))
                self._comparing.forget(job_id)

    async def progress(self, job_id: str) -> Progress | None:
        """The newest progress of a running job, whichever process told it; None before its first step, once it has
        ended, and while Redis is away.
        """
        try:
            (message,) = await self._link.ask(("GET", progress_key(job_id)))
        except RedisAway:
            return None
        return progress_in(message) if message else None

    async def completed_last(self) -> Sequence[tuple[datetime, datetime]]:
        """Beginning and end of the jobs that any process completed last, oldest first; none while Redis is away."""
        try:
            (noted,) = await self._link.ask(("LRANGE", COMPLETED_KEY, 0, -1))
        except RedisAway:
            return []
        return [completion_in(each) for each in reversed(noted)]

    async def flushed(self, *, wait_s: float) -> bool:
        """Waits until everything published is with Redis, or lost; False if that takes longer."""
        return await self._outgoing.flushed(wait_s=wait_s)

    async def unwatched(self) -> None:
        """Waits until nobody watches any job here."""
        while self._watchers.job_ids:  # noqa: ASYNC110 - only at the end of a process
            await asyncio.sleep(UNWATCHED_LOOK_S)

    def close(self) -> None:
        """Ends every iterator once it has given out what it holds. Closing twice is fine."""
        self._watchers.close()

    def _heard(self, channel: str, message: bytes) -> None:
        if origin_of(message) == self._origin:
            return  # told when it was published
        job_id = channel.removeprefix(channel_of(""))
        if job_id in self._watchers and (event := decoded(job_id, message)) is not None:
            self._tell(event)

    def _tell(self, event: Event) -> None:
        if isinstance(event, StateChanged) and event.job.id in self._watchers:
            self._comparing.told(event.job)
        self._watchers.tell(event)

    def _look_soon(self) -> None:
        self._look.set()

    async def _compare(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._compare_s if self._hearing.is_connected else self._compare_away_s):
                    await self._look.wait()
            self._look.clear()
            with outliving("watched_jobs_not_compared"):
                await self._comparing.compare(self._watchers.job_ids)
