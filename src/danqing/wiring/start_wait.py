"""At a start: waits for a part that is away, and says for which. One that says no is not waited for."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from danqing import collector
from danqing.core.errors import StorageAway

T = TypeVar("T")
log = structlog.get_logger(__name__)

DATABASE, PICTURES = "database", "object store"  # parts, in the log
RETRY_S = 2.0
SAID_EVERY_S = 30.0


@dataclass(frozen=True, kw_only=True)
class StartWait:
    """most_s: for how long, for each part; None: until it is there. begun: set at the first part that is away.

    retry_s: between two tries. said_every_s: between two log lines that say so.
    """

    most_s: float | None = None
    retry_s: float = RETRY_S
    said_every_s: float = SAID_EVERY_S
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def until_there(self, part: str, opened: Callable[[], Awaitable[T]]) -> T:
        """What this gives, asked again as long as it raises StorageAway; raises that of the last try once the time is
        up. part: for the log.
        """
        now = asyncio.get_running_loop().time
        began, said_at = now(), None
        while True:
            try:
                found = await opened()
            except StorageAway as away:
                if self.most_s is not None and now() - began >= self.most_s:
                    raise
                self.begun.set()
                collector.go_on()  # each try leaves cycles, and there may be many
                if said_at is None or now() - said_at >= self.said_every_s:
                    said_at = now()
                    waited_s = round(said_at - began, 1)
                    log.warning("waiting_for_part", part=part, reason=away.public_message, waited_s=waited_s)
            else:
                if said_at is not None:
                    collector.clear()
                    log.info("part_there", part=part, waited_s=round(now() - began, 1))
                return found
            await asyncio.sleep(self.retry_s)
