"""What API processes tell each other over Redis, by topics."""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

from pydantic import BaseModel, ConfigDict, ValidationError

from danqing.core.background import outliving, running
from danqing.redis_link import Hearing, RedisAway, RedisLink

CHANNEL = "danqing:neighbours"
JOIN_WAIT_S = 1.0
MOST_UNSENT = 1000  # beyond, the oldest are not said
AT_ONCE = 100


class _Said(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    origin: str
    topic: str
    words: str


class SharedNeighbours:
    """Implements `core.neighbours.Neighbours`. For one event loop, within `at_work`."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._origin = secrets.token_hex(8)
        self._hearing = Hearing(link, heard=self._heard)
        self._topics: dict[str, list[Callable[[str], None]]] = {}
        self._unsent: deque[_Said] = deque(maxlen=MOST_UNSENT)
        self._something_unsent = asyncio.Event()

    @asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None]:
        """Inside, it is said and heard."""
        await self._hearing.start(wait_s=JOIN_WAIT_S)
        await self._hearing.listen(CHANNEL, wait_s=JOIN_WAIT_S)
        async with running(self._say(), name="neighbours"):
            try:
                yield
            finally:
                await self._hearing.stop()

    def say(self, topic: str, words: str) -> None:
        """See the Protocol; so for all below."""
        self._unsent.append(_Said(origin=self._origin, topic=topic, words=words))
        self._something_unsent.set()

    def hear(self, topic: str, heard: Callable[[str], None]) -> None:
        self._topics.setdefault(topic, []).append(heard)

    async def _say(self) -> None:
        while True:
            await self._something_unsent.wait()
            some = [self._unsent.popleft() for _ in range(min(AT_ONCE, len(self._unsent)))]
            with outliving("neighbours_not_told"), suppress(RedisAway):
                await self._link.ask(*(("PUBLISH", CHANNEL, said.model_dump_json()) for said in some))
            if not self._unsent:
                self._something_unsent.clear()

    def _heard(self, channel: str, message: bytes) -> None:
        try:
            said = _Said.model_validate_json(message)
        except ValidationError:  # of another version
            return
        if said.origin != self._origin:
            for heard in self._topics.get(said.topic, ()):
                heard(said.words)
