"""Events from the server to watchers in the same process and the same event loop."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

from danqing.core.events import Event
from danqing.core.progress import ProgressBoard
from danqing.core.types import Progress
from danqing.events.buffer import SIZE
from danqing.events.watchers import Watchers


class InProcessEventBus:
    """For use from one event loop only. Events of a job reach each of its watchers in the order of publishing."""

    def __init__(self, *, buffer_size: int = SIZE) -> None:
        """buffer_size: see `EventBuffer`."""
        self._watchers = Watchers(buffer_size)
        self._board = ProgressBoard()

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many events slow watchers were not told, by kind."""
        return self._watchers.dropped

    def publish(self, event: Event) -> None:
        """Never blocks, costs nothing for a job that nobody watches, and never drops a StateChanged."""
        self._board.note(event)
        self._watchers.tell(event)

    async def progress(self, job_id: str) -> Progress | None:
        """The newest progress of a running job; None before its first step and once it has ended."""
        return self._board.latest(job_id)

    @asynccontextmanager
    async def watch(self, job_id: str, *, only_states: bool = False) -> AsyncGenerator[AsyncIterator[Event]]:
        """See the port. The iterator ends when the bus is closed."""
        buffer = self._watchers.enter(job_id, only_states=only_states)
        try:
            yield buffer.read()
        finally:
            self._watchers.leave(job_id, buffer)

    def close(self) -> None:
        """Ends every iterator once it has given out what it holds. Closing twice is fine."""
        self._watchers.close()
