"""Events from the server to watchers in the same process and the same event loop."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from danqing.core.events import Event, PreviewMade, ProgressMade, StateChanged
from danqing.core.progress import ProgressBoard
from danqing.core.types import Progress


class InProcessEventBus:
    """For use from one event loop only. Events of a job reach each of its watchers in the order of publishing."""

    def __init__(self, *, buffer_size: int = 64) -> None:
        """buffer_size: events held for a watcher that does not read; above it, previews are dropped, and then progress,
        oldest first. Of previews only the newest is held for a slow watcher: one that fell a quarter of the size
        behind and has not read everything since.
        """
        self._buffer_size = buffer_size
        self._watchers: dict[str, list[_Buffer]] = {}
        self._board = ProgressBoard()
        self._closed = False

    def publish(self, event: Event) -> None:
        """Never blocks, costs nothing for a job that nobody watches, and never drops a StateChanged."""
        self._board.note(event)
        job_id = event.job.id if isinstance(event, StateChanged) else event.job_id
        for buffer in self._watchers.get(job_id, ()):
            buffer.put(event)

    def progress(self, job_id: str) -> Progress | None:
        """The newest progress of a running job; None before its first step and once it has ended."""
        return self._board.latest(job_id)

    @asynccontextmanager
    async def watch(self, job_id: str) -> AsyncGenerator[AsyncIterator[Event]]:
        """Events of one job from the moment the context is entered. The iterator ends when the bus is closed."""
        buffer = _Buffer(self._buffer_size)
        if self._closed:
            buffer.close()
        watchers = self._watchers.setdefault(job_id, [])
        watchers.append(buffer)
        try:
            yield buffer.read()
        finally:
            watchers.remove(buffer)
            if not watchers:
                self._watchers.pop(job_id, None)

    def close(self) -> None:
        """Ends every iterator once it has given out what it holds. Closing twice is fine."""
        self._closed = True
        for watchers in self._watchers.values():
            for buffer in watchers:
                buffer.close()


class _Buffer:
    """What one watcher has not read yet."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._events: deque[Event] = deque()
        self._slow = False  # it fell behind, and has not caught up since
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, event: Event) -> None:
        self._slow = self._slow or len(self._events) >= self._size // 4
        if self._slow and isinstance(event, PreviewMade):
            while self._dropped_oldest(PreviewMade):
                pass
        if len(self._events) >= self._size:
            if isinstance(event, PreviewMade):
                return  # nothing else makes room for a preview
            # States alone may outgrow the size; a job has only a handful of them.
            if not self._dropped_oldest(PreviewMade):
                self._dropped_oldest(ProgressMade)
        self._events.append(event)
        self._changed.set()

    def _dropped_oldest(self, kind: type[ProgressMade | PreviewMade]) -> bool:
        """False if there is none."""
        oldest = next((event for event in self._events if isinstance(event, kind)), None)
        if oldest is None:
            return False
        self._events.remove(oldest)
        return True

    def close(self) -> None:
        self._closed = True
        self._changed.set()

    async def read(self) -> AsyncIterator[Event]:
        while True:
            while self._events:
                yield self._events.popleft()
            self._slow = False
            if self._closed:
                return
            self._changed.clear()
            await self._changed.wait()
