"""Clients that cost as little as can be, for the loads: HTTP/1.1 kept alive, and WebSockets that only listen.

The load runs on the same two cores as what is measured. No more of HTTP is understood than the servers here answer.
"""

import asyncio
import base64
import json
import os
from typing import Any
from urllib.parse import urlsplit

TEXT = 1  # a frame of it


class HttpClient:
    """One connection, one request at a time."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> "HttpClient":
        host, _, port = self._host.partition(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port), limit=1 << 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    async def get(self, path: str) -> bytes:
        """The body. Raises RuntimeError for any status but 200."""
        return await self._exchange(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())

    async def post(self, path: str, content: object) -> bytes:
        """The body of the answer to this JSON. Raises RuntimeError for any status but 200."""
        body = json.dumps(content).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return await self._exchange(head.encode() + body)

    async def _exchange(self, request: bytes) -> bytes:
        assert self._reader is not None
        assert self._writer is not None
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await self._reader.readexactly(length)
        if head.split(b" ", 2)[1] != b"200":
            raise RuntimeError(f"{head[:60]!r}: {body[:300]!r}")
        return body


class WebSocketClient:
    """One connection. Messages of servers here are texts in one frame each, never masked."""

    def __init__(self, url: str, path: str) -> None:
        self._host = urlsplit(url).netloc
        self._path = path

    async def __aenter__(self) -> "WebSocketClient":
        host, _, port = self._host.partition(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port), limit=1 << 20)
        key = base64.b64encode(os.urandom(16)).decode()
        self._writer.write(
            (
                f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
            ).encode()
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head[:32]:
            raise RuntimeError(f"no WebSocket: {head[:200]!r}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    def send(self, content: object) -> None:
        """A text, masked by zeros, as a client's must be masked."""
        body = json.dumps(content).encode()
        length = bytes((0x80 | len(body),)) if len(body) < 126 else b"\xfe" + len(body).to_bytes(2, "big")
        self._writer.write(bytes((0x80 | TEXT,)) + length + bytes(4) + body)

    async def receive(self) -> bytes:
        """The next text. Raises EOFError when the server closes."""
        while True:
            kind, size = await self._reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await self._reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self._reader.readexactly(8), "big")
            body = await self._reader.readexactly(size)
            match kind & 0x0F:
                case 1:
                    return body
                case 8:
                    raise EOFError("the server closed the WebSocket")
                case 9:
                    self._writer.write(bytes((0x8A, 0x80 | len(body))) + bytes(4) + body)
                case _:
                    pass

    async def receive_json(self) -> dict[str, Any]:  # Any: JSON
        """As an object."""
        return json.loads(await self.receive())
