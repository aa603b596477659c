"""Whether there is room for another waiting job, found out without counting them each time."""

from sqlalchemy import Connection

from danqing.store import queries


class Room:
    """Keeps a number of jobs that are pending at most, and counts them only where that number leaves no room.

    For the writing thread.
    """

    def __init__(self) -> None:
        self._pending_at_most: int | None = None

    def take(self, connection: Connection, jobs: int, max_pending: int) -> bool:
        """Takes room for so many new jobs. False, and nothing taken, if more than max_pending would be pending."""
        pending = self._pending_at_most
        if pending is None or pending + jobs > max_pending:
            pending = queries.count_pending(connection)
        fits = pending + jobs <= max_pending
        self._pending_at_most = pending + jobs if fits else pending
        return fits

    def one_more(self) -> None:
        """A job that was not pending may become so."""
        if (pending := self._pending_at_most) is not None:
            self._pending_at_most = pending + 1

    def forget(self) -> None:
        """A transaction failed: what was counted in it may not be so. Callable from any thread."""
        self._pending_at_most = None
