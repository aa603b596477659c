"""A JSON answer with pictures in it as base64, which is never whole in memory and keeps nobody else waiting.

A picture of 4096 x 4096 is some 20 MB, and 27 MB as base64: put together it would be in memory four times, and the
event loop busy with it for tens of milliseconds.
"""

import asyncio
import secrets
from binascii import b2a_base64
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Self

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from danqing.core.errors import StorageFailure
from danqing.core.open_picture import OpenPicture

AT_ONCE_BYTES = 3 * 64 * 1024  # of a picture, between two chances for others; of 3, as base64 is
TOGETHER_BYTES = 256 * 1024  # an answer of so much is sent in one piece
Source = OpenPicture | bytes


class Embedded:
    """Pictures on their way into an answer, each with a word that stands for it in the JSON text. For one answer, which
    closes each when it is sent; on an error before that they are closed at once.
    """

    def __init__(self) -> None:
        self._sources: dict[str, Source] = {}

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        """See the class."""
        if error_type is not None:
            for source in self._sources.values():
                if not isinstance(source, bytes):
                    source.close()

    def add(self, source: Source) -> str:
        """The word, which no client can guess."""
        word = f"picture-{secrets.token_hex(16)}"
        self._sources[word] = source
        return word

    def response(self, text: str, *, headers: Mapping[str, str] | None = None) -> Response:
        """text: JSON, in which each word stands once, between quotes, in the order of `add`."""
        return _EmbeddingResponse(text, self._sources, headers)


class _EmbeddingResponse(Response):
    """Where a store fails in the middle the connection is broken off: the Content-Length has told how much there is."""

    def __init__(self, text: str, sources: Mapping[str, Source], headers: Mapping[str, str] | None) -> None:
        self._pictures = tuple(sources.values())
        self._texts = _between(text, tuple(sources))
        self._length = sum(map(len, self._texts)) + sum(map(_encoded_bytes, self._pictures))
        super().__init__(
            headers={**(headers or {}), "Content-Length": str(self._length)}, media_type="application/json"
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        async with AsyncExitStack() as stack:
            for picture in self._pictures:
                if not isinstance(picture, bytes):
                    stack.callback(picture.close)
            if self._length <= TOGETHER_BYTES:  # what goes wrong now is still answered with an error
                whole = b"".join([piece async for piece in self._pieces()])
                if len(whole) != self._length:
                    raise StorageFailure("A picture was shorter than it should be.")
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                await send({"type": "http.response.body", "body": whole})
                return
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            left = self._length
            async for piece in self._pieces():
                left -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": left > 0})

    async def _pieces(self) -> AsyncIterator[bytes]:
        for text, picture in zip(self._texts, (*self._pictures, b""), strict=True):
            yield text
            async for encoded in _base64(picture):
                yield encoded
            if not isinstance(picture, bytes):
                picture.close()


def _between(text: str, words: Sequence[str]) -> list[bytes]:
    """What stands before, between and after the words."""
    texts: list[bytes] = []
    for word in words:
        before, _, text = text.partition(word)
        texts.append(before.encode())
    return [*texts, text.encode()]


def _encoded_bytes(source: Source) -> int:
    size = len(source) if isinstance(source, bytes) else source.size_bytes
    return (size + 2) // 3 * 4


async def _base64(source: Source) -> AsyncIterator[bytes]:
    """In pieces that take no time. Fewer than there should be where an open picture ends too early."""
    rest = b""
    async for read in _read(source):
        content = rest + read
        whole = len(content) - len(content) % 3
        for first in range(0, whole, AT_ONCE_BYTES):
            yield b2a_base64(memoryview(content)[first : min(first + AT_ONCE_BYTES, whole)], newline=False)
            if first:
                await asyncio.sleep(0)
        rest = content[whole:]
    if rest:
        yield b2a_base64(rest, newline=False)


async def _read(source: Source) -> AsyncIterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    left = source.size_bytes
    while left > 0 and (piece := await source.read()):
        left -= len(piece)
        yield piece
