"""Pictures that were encoded for an address, so that they are not for every time that it is asked for: once for all who
ask at the same time, and not again while there is room for them.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class EncodedPicture:
    """etag: of the content, in quotes, as the header has it."""

    content: bytes
    etag: str


class PictureCache:
    """Holds those asked for last. For one event loop."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[str, EncodedPicture] = OrderedDict()
        self._being_made: dict[str, asyncio.Task[EncodedPicture]] = {}

    async def get(self, name: str, encode: Callable[[], Awaitable[bytes]]) -> EncodedPicture:
        """The picture of that name, which never changes; encode makes it if it is not held, and nobody else's does just
        now. It goes on if whoever asked does not wait for it. Raises what encode does.
        """
        if held := self._held.get(name):
            self._held.move_to_end(name)
            return held
        if (making := self._being_made.get(name)) is None:
            making = self._being_made[name] = asyncio.create_task(self._made(name, encode), name="encoding")
            making.add_done_callback(lambda _: self._being_made.pop(name))
        return await asyncio.shield(making)

    async def _made(self, name: str, encode: Callable[[], Awaitable[bytes]]) -> EncodedPicture:
        content = await encode()
        digest = await asyncio.to_thread(lambda: hashlib.blake2b(content, digest_size=16).hexdigest())
        picture = EncodedPicture(content=content, etag=f'"{digest}"')
        self._held[name] = picture
        while sum(len(each.content) for each in self._held.values()) > self._max_bytes:
            self._held.popitem(last=False)
        return picture
