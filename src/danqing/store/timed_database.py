"""A database whose calls are timed by somebody."""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Literal, TypeVar

from sqlalchemy import Connection

from danqing.store.database import Database

T = TypeVar("T")
Stopwatch = Callable[[Literal["read", "write"]], AbstractContextManager[None]]  # entered before a call, left after it


class TimedDatabase:
    """Implements `Database` over another one. What is only queued (`submit`) is not timed."""

    def __init__(self, database: Database, stopwatch: Stopwatch) -> None:
        self._database = database
        self._stopwatch = stopwatch

    def submit(
        self,
        work: Callable[[Connection], T],
        *,
        durable: bool,
        on_commit: Callable[[T], None] | None = None,
        lane: str | None = None,
        proof: Callable[[Connection], T | None] | None = None,
    ) -> Future[T]:
        """See `Database`; so for all below."""
        return self._database.submit(work, durable=durable, on_commit=on_commit, lane=lane, proof=proof)

    async def write(
        self,
        work: Callable[[Connection], T],
        *,
        durable: bool,
        on_commit: Callable[[T], None] | None = None,
        lane: str | None = None,
        proof: Callable[[Connection], T | None] | None = None,
    ) -> T:
        with self._stopwatch("write"):
            return await self._database.write(work, durable=durable, on_commit=on_commit, lane=lane, proof=proof)

    async def read(self, query: Callable[[Connection], T]) -> T:
        with self._stopwatch("read"):
            return await self._database.read(query)

    def close(self) -> None:
        self._database.close()
