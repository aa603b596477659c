"""A house that speaks live on a real port in the test's own loop, and clients that talk to it over real WebSockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect

from danqing.core.model_names import DEFAULT
from danqing.dialects.live.dialect import live
from danqing.dialects.live.outbox import OutboxLimits
from danqing.http.dialect import Dialect
from danqing.http.listeners import Listener, open_listeners
from danqing.http.server import Stop, serve
from tests.dialects.house import House

PATIENCE_S = 60  # for anything that must come
ALIASES = {"z-image-turbo-*": DEFAULT}
SMALL: dict[str, Any] = {"width": 64, "height": 64, "steps": 3}


def a_house(root: Path, **options: Any) -> House:  # noqa: ANN401 - arguments of House
    """A house that serves the document's two models."""
    return House(root, aliases=ALIASES, **options)


def create_job(prompt: str = "a pizza", request_id: str = "req-001", **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """A create_job message; more: further params."""
    return {
        "type": "create_job",
        "task_type": "text_to_image",
        "request_id": request_id,
        "params": {"prompt": prompt, **SMALL, **more},
    }


async def until(holds: Callable[[], bool]) -> None:
    """Returns once that is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - it is not told
            await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Talker:
    """One connection."""

    socket: ClientConnection

    async def say(self, message: object) -> None:
        """Sends JSON; text as it stands."""
        await self.socket.send(message if isinstance(message, str) else json.dumps(message))

    async def hear(self) -> Any:  # noqa: ANN401 - JSON
        """The next message."""
        async with asyncio.timeout(PATIENCE_S):
            return json.loads(await self.socket.recv())

    async def ask(self, message: object) -> Any:  # noqa: ANN401 - JSON
        """Sends, and returns the next message."""
        await self.say(message)
        return await self.hear()

    async def hear_until(self, status: str) -> list[Any]:
        """All messages up to the first job_status of that kind."""
        heard: list[Any] = []
        while not heard or heard[-1].get("status") != status:
            heard.append(await self.hear())
        return heard

    async def is_silent(self) -> bool:
        """Nothing was sent before the answer to a question that is asked now."""
        answer = await self.ask({"type": "get_status", "job_id": "nobody's", "request_id": "is it silent"})
        return answer == {"type": "error", "message": "Job not found.", "request_id": "is it silent"}


@dataclass(frozen=True)
class Served:
    """A running server."""

    url: str
    stop: Stop

    @asynccontextmanager
    async def talk(
        self, client_id: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Talker]:
        """A new connection."""
        query = "" if client_id is None else f"?client_id={quote(client_id)}"
        address = f"{self.url.replace('http', 'ws', 1)}/api/ws{query}"
        async with connect(address, proxy=None, additional_headers=headers) as socket:
            yield Talker(socket)


@asynccontextmanager
async def running(
    house: House, *, limits: OutboxLimits | None = None, others: Sequence[Dialect] = ()
) -> AsyncIterator[Served]:
    """The house on the shared port. others: dialects that it speaks too."""
    stop = Stop()

    async def drain() -> None:
        house.studio.stop_accepting()
        house.events.close()

    with open_listeners([Listener(host="127.0.0.1", port=0)]) as listeners:
        task = asyncio.create_task(serve({listeners[0]: house.app(live(limits), *others)}, stop=stop, drain=drain))
        try:
            yield Served(url=listeners[0].url, stop=stop)
        finally:
            stop.request()
            await task
