"""A call of the database whose caller stops waiting for it: whether it still counts, and who is told what."""

import asyncio
from concurrent.futures import Future
from threading import Lock
from typing import TypeVar

import structlog

from danqing.core.errors import StorageAway, StorageInDoubt

T = TypeVar("T")
log = structlog.get_logger(__name__)

NOT_DONE = "The database did not answer in time; nothing was changed."


class Call:
    """One call. Its caller waits in an event loop, its work goes on in a thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._committing = False
        self._given_up = False

    def begin_commit(self) -> None:
        """In the thread, before each commit: raises StorageAway once nobody waits for it any more."""
        with self._lock:
            if self._given_up:
                raise StorageAway(NOT_DONE)
            self._committing = True

    async def answer(self, answer: Future[T], *, within_s: float, may_doubt: bool = False) -> T:
        """What the call gives, or StorageAway when that takes too long; it is never committed then.

        may_doubt: also when its commit has begun, of which nobody knows what will become (StorageInDoubt then);
        otherwise that is waited for.
        """
        waiting = asyncio.wrap_future(answer)
        try:
            await asyncio.wait((waiting,), timeout=within_s)
            if not waiting.done() and self._give_up(may_doubt=may_doubt):
                log.error("store_call_given_up", waited_s=within_s, in_doubt=self._committing)
                raise StorageInDoubt if self._committing else StorageAway(NOT_DONE)
            return await waiting
        finally:
            waiting.cancel()  # what has not begun is not run

    def _give_up(self, *, may_doubt: bool) -> bool:
        with self._lock:
            self._given_up = may_doubt or not self._committing
            return self._given_up
