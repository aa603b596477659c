"""What one connection has yet to be told, bounded: previews go first, then steps, never a state."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from danqing.dialects.live.letters import Letter, Step


@dataclass(frozen=True, kw_only=True)
class OutboxLimits:
    """letters, letter_bytes: held before the client is given up; steps, previews: held before the oldest is dropped.

    ease, ease_bytes: letters, and bytes of them, above which nothing more is read from the client.
    """

    letters: int = 5000
    letter_bytes: int = 8 * 1024 * 1024
    steps: int = 64
    previews: int = 4
    ease: int = 500
    ease_bytes: int = 1024 * 1024


class Outbox:
    """First in, first out. For one event loop; one reader."""

    def __init__(self, limits: OutboxLimits, *, send_now: Callable[[Letter | Step], bool] | None = None) -> None:
        """send_now: asked, while nothing is held, whether it has sent the item; what it has is not held at all."""
        self._limits = limits
        self._send_now = send_now
        self._items: deque[Letter | Step] = deque()
        self._letters = 0
        self._bytes = 0  # of the letters
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._eased = asyncio.Event()
        self._eased.set()
        self.overflowed = asyncio.Event()  # more than may be held of letters: the client does not read

    def put_letter(self, letter: Letter) -> None:
        """Never blocks."""
        if self._sent(letter):
            return
        self._items.append(letter)
        self._letters += 1
        self._bytes += letter.size_bytes
        limits = self._limits
        if self._letters > limits.ease or self._bytes > limits.ease_bytes:
            self._eased.clear()
        if self._letters > limits.letters or self._bytes > limits.letter_bytes:
            self.overflowed.set()
        self._wake()

    def put_step(self, step: Step) -> None:
        """Never blocks."""
        if self._sent(step):
            return
        if step.preview is not None:
            self._make_room_for_preview()
        steps = len(self._items) - self._letters
        if steps >= self._limits.steps:
            self._items.remove(next(item for item in self._items if isinstance(item, Step)))
        self._items.append(step)
        self._wake()

    def _sent(self, item: Letter | Step) -> bool:
        """Not while the reader may still be at work on the item before it."""
        return self._send_now is not None and self._idle.is_set() and self._send_now(item)

    def _wake(self) -> None:
        self._idle.clear()
        self._changed.set()

    def _make_room_for_preview(self) -> None:
        held = [index for index, item in enumerate(self._items) if isinstance(item, Step) and item.preview is not None]
        if len(held) >= self._limits.previews:
            oldest = self._items[held[0]]
            assert isinstance(oldest, Step)
            self._items[held[0]] = oldest.without_preview

    async def take(self) -> Letter | Step:
        """The next item; waits for one."""
        while not self._items:
            self._idle.set()
            self._changed.clear()
            await self._changed.wait()
        item = self._items.popleft()
        if isinstance(item, Letter):
            self._letters -= 1
            self._bytes -= item.size_bytes
            if self._letters <= self._limits.ease and self._bytes <= self._limits.ease_bytes:
                self._eased.set()
        return item

    async def eased(self) -> None:
        """Returns once so little is held that the client may ask for more."""
        await self._eased.wait()

    async def idle(self) -> None:
        """Returns once the reader has done with everything."""
        await self._idle.wait()
