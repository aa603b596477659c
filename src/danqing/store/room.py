"""Whether there is room for another waiting job, found out without counting them each time."""

from sqlalchemy import Connection, Transaction

from danqing.store import queries


class Room:
    """Keeps a number of jobs that are pending at most, and counts them only where that number leaves no room.

    For the writing thread.
    """

    def __init__(self) -> None:
        self._pending_at_most: int | None = None
        self._counted_in: Transaction | None = None  # until it is committed

    def take(self, connection: Connection, jobs: int, max_pending: int) -> bool:
        """Takes room for so many new jobs. False, and nothing taken, if more than max_pending would be pending."""
        transaction = connection.get_transaction()
        if self._counted_in not in (None, transaction):  # it failed, and what it had seen is not so
            self._pending_at_most = None
        self._counted_in = transaction
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

    def committed(self) -> None:
        """The transaction in which room was last taken, or refused, is committed."""
        self._counted_in = None
