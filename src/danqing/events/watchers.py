"""Who watches which job in this process."""

from collections import Counter
from collections.abc import Collection

from danqing.core.events import Event, StateChanged
from danqing.events.buffer import SIZE, EventBuffer


def job_of(event: Event) -> str:
    """The id of the job that it happened to."""
    return event.job.id if isinstance(event, StateChanged) else event.job_id


class Watchers:
    """For one event loop. Events of a job reach each of its watchers in the order in which they are told."""

    def __init__(self, buffer_size: int = SIZE) -> None:
        """buffer_size: see `EventBuffer`, of which each watcher has one."""
        self._buffer_size = buffer_size
        self._buffers: dict[str, list[EventBuffer]] = {}
        self._closed = False
        self.dropped: Counter[str] = Counter(preview=0, progress=0)  # what slow watchers were not told

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._buffers

    @property
    def job_ids(self) -> Collection[str]:
        """The jobs that somebody watches just now."""
        return self._buffers.keys()

    def enter(self, job_id: str, *, only_states: bool = False) -> EventBuffer:
        """A new watcher of that job, and what he is told from now on. After `close` he is told nothing."""
        buffer = EventBuffer(self._buffer_size, self.dropped, only_states=only_states)
        if self._closed:
            buffer.close()
        self._buffers.setdefault(job_id, []).append(buffer)
        return buffer

    def leave(self, job_id: str, buffer: EventBuffer) -> None:
        """He watches no more."""
        buffers = self._buffers[job_id]
        buffers.remove(buffer)
        if not buffers:
            del self._buffers[job_id]

    def tell(self, event: Event) -> None:
        """Never waits; costs nothing for a job that nobody watches."""
        for buffer in self._buffers.get(job_of(event), ()):
            buffer.put(event)

    def end(self, job_id: str) -> None:
        """Nothing more comes of that job: its watches end once they have given out what they hold."""
        for buffer in self._buffers.get(job_id, ()):
            buffer.close()

    def close(self) -> None:
        """Ends every watch once it has given out what it holds. Closing twice is fine."""
        self._closed = True
        for job_id in self._buffers:
            self.end(job_id)
