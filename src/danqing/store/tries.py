"""What is done about a call of PostgreSQL that failed: whether it is run again, and so that it is done once."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from danqing.store.postgres_connections import Patience, is_disconnect, sqlstate_of

T = TypeVar("T")

_SERIALISATION_FAILURE, _DEADLOCK = "40001", "40P01"
_ALREADY_THERE = "23505"  # between a look and an insert another process was quicker: the next look finds it


class InDoubt(Exception):
    """The connection was lost while a transaction was committed."""


class Tries:
    """Those of one call."""

    def __init__(self, patience: Patience, *, in_doubt: bool) -> None:
        self._patience = patience
        self._collided = False
        self.number = 0
        self.in_doubt = in_doubt

    def may_go_on(self, failure: Exception, since_s: float) -> bool:
        """Whether the call, which has just failed so long after its beginning, is worth another try."""
        self.number += 1
        if isinstance(failure, InDoubt):
            self.in_doubt = True
            return since_s < self._patience.doubt_s
        state = sqlstate_of(failure)
        if state in (_SERIALISATION_FAILURE, _DEADLOCK):
            return self.number < self._patience.tries
        if state == _ALREADY_THERE:
            collided_before, self._collided = self._collided, True
            return not collided_before
        until_s = self._patience.doubt_s if self.in_doubt else self._patience.reconnect_s
        return is_disconnect(failure) and since_s < until_s


def once(connection: Connection, work: Callable[[Connection], T], proof: Callable[[Connection], T | None]) -> T:
    """The server may still be at the lost commit: then the work waits for its locks, and finds nothing to do, or no
    room beside what is there by now. work: gives something false where it did nothing.
    """
    if (done := proof(connection)) is not None:
        return done
    result = work(connection)
    if not result and (done := proof(connection)) is not None:
        return done
    return result
