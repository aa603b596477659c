"""Keeps callers from waiting for a place that does not answer: most are refused at once, one of them tries it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from danqing.core.errors import StorageFailure, Unavailable

log = structlog.get_logger(__name__)

AWAY = "Pictures cannot be stored at the moment; try again in a moment."


@dataclass(frozen=True, kw_only=True)
class GuardRules:
    """at_once: calls. wait_s: for others to make room. slow_s: a call that fails after so long tells that the place
    does not answer; then nobody calls it for rest_s.
    """

    at_once: int = 8
    wait_s: float = 10.0
    slow_s: float = 5.0
    rest_s: float = 15.0


class PlaceGuard:
    """For one event loop."""

    def __init__(self, rules: GuardRules | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules = rules or GuardRules()
        self._clock = clock
        self._room = asyncio.Semaphore(self._rules.at_once)
        self._away_until: float | None = None
        self._is_tried = False  # by one caller, since it was away

    @asynccontextmanager
    async def call(self) -> AsyncGenerator[None]:
        """Inside, the place may be called. Raises Unavailable where it does not answer, or too many wait for it.

        A StorageFailure that comes soon goes through as it is.
        """
        self._check()
        try:
            async with asyncio.timeout(self._rules.wait_s):
                await self._room.acquire()
        except TimeoutError as exc:
            raise self._refusal() from exc
        try:
            self._check()
            tries = self._away_until is not None
            self._is_tried |= tries
            try:
                async with self._watched():
                    yield
            finally:
                self._is_tried &= not tries
        finally:
            self._room.release()

    @asynccontextmanager
    async def _watched(self) -> AsyncGenerator[None]:
        begun = self._clock()
        try:
            yield
        except StorageFailure as exc:
            if self._clock() - begun < self._rules.slow_s:
                raise
            log.error("pictures_place_does_not_answer", rest_s=self._rules.rest_s)
            self._away_until = self._clock() + self._rules.rest_s
            raise self._refusal() from exc
        self._away_until = None

    def _check(self) -> None:
        if self._away_until is not None and (self._is_tried or self._clock() < self._away_until):
            raise self._refusal()

    def _refusal(self) -> Unavailable:
        return Unavailable(AWAY, retry_after_s=round(self._rules.rest_s))
