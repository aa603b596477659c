"""What the stores need of a database: transactions of functions over a connection. Knows nothing of what is stored."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")


class Database(Protocol):
    """`SqliteDatabase` (this process is the only one that writes) or `PostgresDatabase` (many processes do).

    A function that writes is run in a transaction of its own, or as if it were; it may be run twice, with all that the
    first run wrote rolled back. Calls raise StorageFailure.
    """

    def submit(
        self,
        work: Callable[[Connection], T],
        *,
        durable: bool,
        on_commit: Callable[[T], None] | None = None,
        lane: str | None = None,
        proof: Callable[[Connection], T | None] | None = None,
    ) -> Future[T]:
        """Queues a function that writes. The future gives its result after the commit, or StorageFailure.

        durable: the commit has reached the medium before the result is given. on_commit: told the result after the
        commit and before the caller is answered, in the thread that wrote. lane: calls of one lane that come from this
        process are run in the order given, one after the other. proof: what the function returned, if it was committed
        already, for one that must not be done again when its commit was not answered. Callable from any thread.
        """
        ...

    async def write(
        self,
        work: Callable[[Connection], T],
        *,
        durable: bool,
        on_commit: Callable[[T], None] | None = None,
        lane: str | None = None,
        proof: Callable[[Connection], T | None] | None = None,
    ) -> T:
        """As `submit`, and waits for the commit."""
        ...

    async def read(self, query: Callable[[Connection], T]) -> T:
        """What a function reads, all of it from one state of the database, the newest."""
        ...

    def close(self) -> None:
        """Finishes the calls under way; later calls raise StorageFailure. Twice is fine. Blocking."""
        ...
