"""Events that somebody has not taken yet: bounded, but for states."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator

from danqing.core.events import Event, PreviewMade, ProgressMade, StateChanged

SIZE = 64
_KINDS: dict[type[PreviewMade | ProgressMade], str] = {PreviewMade: "preview", ProgressMade: "progress"}


class EventBuffer:
    """Of one job, for one reader. For one event loop."""

    def __init__(self, size: int = SIZE, dropped: Counter[str] | None = None, *, only_states: bool = False) -> None:
        """size: events held for a reader that does not read; above it, previews are dropped, and then progress, oldest
        first. Of previews only the newest is held for a slow reader: one that fell a quarter of the size behind and has
        not read everything since. dropped: counts what was, by kind. only_states: it takes nothing else, so that each
        step does not wake who only waits for the end.
        """
        self._size = size
        self._only_states = only_states
        self._dropped = Counter[str]() if dropped is None else dropped
        self._events: deque[Event] = deque()
        self._slow = False  # it fell behind, and has not caught up since
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, event: Event) -> None:
        """Never waits."""
        if self._only_states and not isinstance(event, StateChanged):
            return
        self._slow = self._slow or len(self._events) >= self._size // 4
        if self._slow and isinstance(event, PreviewMade):
            while self._dropped_oldest(PreviewMade):
                pass
        if len(self._events) >= self._size:
            if isinstance(event, PreviewMade):
                self._dropped[_KINDS[PreviewMade]] += 1
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
        self._dropped[_KINDS[kind]] += 1
        return True

    def close(self) -> None:
        """`read` ends once it has given out what is held."""
        self._closed = True
        self._changed.set()

    def taken(self) -> list[Event]:
        """All that is held, which is not any more."""
        events = list(self._events)
        self._events.clear()
        self._slow = False
        return events

    async def read(self) -> AsyncIterator[Event]:
        """Each as it comes."""
        while True:
            while self._events:
                yield self._events.popleft()
            self._slow = False
            if self._closed:
                return
            self._changed.clear()
            await self._changed.wait()
