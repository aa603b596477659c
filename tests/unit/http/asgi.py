"""Calls an ASGI app without a server, so that each message can be given and seen."""

from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Message


def a_scope(method: str = "GET", path: str = "/", **headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "headers": raw}


async def call(app: ASGIApp, scope: dict[str, Any], chunks: Iterable[bytes] = (b"",)) -> list[Message]:
    """The messages sent in answer to a request whose body comes in these chunks."""
    incoming = list(chunks)
    sent: list[Message] = []

    async def receive() -> Message:
        body = incoming.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(incoming)}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent
