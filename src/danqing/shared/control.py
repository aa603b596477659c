"""What API processes ask of the nodes, over Redis: to drop a job, to send previews of one.

A word that is lost only delays: a node also asks the store, at each beat, which of its jobs were cancelled.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import structlog

from danqing.core.background import outliving, running
from danqing.core.ports import WorkerPool
from danqing.redis_link import Hearing, RedisAway, RedisLink

log = structlog.get_logger(__name__)

CHANNEL = "danqing:control"
WISHES_KEY = "danqing:previews"  # the jobs of which previews are wanted, by when that was said
MOST_WISHES = 10_000
WISHES_TTL_S = 6 * 3600
JOIN_WAIT_S = 1.0
_STOP, _PREVIEWS = "stop", "previews"


class ControlSending:
    """For one event loop. Says it once; while Redis is away it says nothing."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def stop_job(self, job_id: str) -> None:
        """To whichever node runs it."""
        with suppress(RedisAway):
            await self._link.ask(("PUBLISH", CHANNEL, _words(_STOP, job_id)), ("ZREM", WISHES_KEY, job_id))

    async def send_previews(self, job_id: str) -> None:
        """To whichever node runs it, or will."""
        now = time.time()
        with suppress(RedisAway):
            await self._link.ask(
                ("ZADD", WISHES_KEY, now, job_id),
                ("ZREMRANGEBYSCORE", WISHES_KEY, "-inf", now - WISHES_TTL_S),
                ("ZREMRANGEBYRANK", WISHES_KEY, 0, -MOST_WISHES - 1),
                ("EXPIRE", WISHES_KEY, WISHES_TTL_S),
                ("PUBLISH", CHANNEL, _words(_PREVIEWS, job_id)),
            )


class ControlHearing:
    """For one event loop. Tells a node's pool what is asked of all nodes, also of jobs that it does not have."""

    def __init__(self, link: RedisLink, pool: WorkerPool) -> None:
        self._link = link
        self._pool = pool
        self._hearing = Hearing(link, heard=self._heard, changed=self._catch_up_soon)
        self._asked: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self._catch_up = asyncio.Event()

    @asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None]:
        """Inside, the pool is told."""
        await self._hearing.start(wait_s=JOIN_WAIT_S)
        await self._hearing.listen(CHANNEL, wait_s=JOIN_WAIT_S)
        async with (
            running(self._learn_wishes(), name="control-catches-up"),
            running(self._tell(), name="control-tells"),
        ):
            try:
                yield
            finally:
                await self._hearing.stop()

    def _heard(self, channel: str, message: bytes) -> None:
        with suppress(ValueError):  # what another version says, perhaps
            match json.loads(message):
                case {"do": str(what), "job": str(job_id)}:
                    self._asked.put_nowait((what, job_id))
                case _:
                    pass

    async def _tell(self) -> None:
        while True:
            what, job_id = await self._asked.get()
            with outliving("control_failed", what=what, job_id=job_id):
                match what:
                    case "stop":
                        await self._pool.stop_job(job_id)
                    case "previews":
                        await self._pool.send_previews(job_id)
                    case _:  # of a newer version
                        pass

    def _catch_up_soon(self) -> None:
        if self._hearing.is_connected:
            self._catch_up.set()

    async def _learn_wishes(self) -> None:
        """What was wished for before this node listened, each time that it begins to."""
        while True:
            await self._catch_up.wait()
            self._catch_up.clear()
            # Of a Redis that is away it is asked when there is a connection again.
            with outliving("wishes_not_learned"), suppress(RedisAway):
                (wished,) = await self._link.ask(("ZRANGE", WISHES_KEY, 0, -1))
                for job_id in wished:
                    self._asked.put_nowait((_PREVIEWS, job_id.decode(errors="replace")))


def _words(what: str, job_id: str) -> str:
    return json.dumps({"do": what, "job": job_id})
