"""Tells the log who was not let in, and why; never with which key.

A flood of refusals is no flood of lines: one address has one a second, and its next line tells how many came meanwhile.
"""

import time
from collections.abc import Callable

import structlog
from starlette.types import Scope

from danqing.http.route_path import route_path

_log = structlog.get_logger(__name__)

EVERY_S = 1.0
MOST_ADDRESSES = 256  # that are remembered; so many lines a second, too, are the most
_LOGGED_PATH_CHARS = 200


class RefusalLog:
    """One for all ports of a server. For one event loop."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._told: dict[str, tuple[float, int]] = {}  # by address: when last, and how many since; oldest first
        self._elsewhere = 0  # untold ones of addresses that there was no room for

    def note(self, scope: Scope, *, status: int, reason: str) -> None:
        """Somebody was answered with this status. reason: in a word."""
        address = _address_of(scope)
        untold = self._untold_before(address)
        if untold is None:
            return
        counts = {"untold": untold, "untold_elsewhere": self._elsewhere}
        self._elsewhere = 0
        _log.warning(
            "key_refused",
            client=address,
            method=scope.get("method", "WEBSOCKET"),
            path=route_path(scope)[:_LOGGED_PATH_CHARS],
            status=status,
            reason=reason,
            **{name: count for name, count in counts.items() if count},
        )

    def _untold_before(self, address: str) -> int | None:
        """Of this address, since its last line; None: this one is not told either."""
        now = self._now()
        if address not in self._told and len(self._told) >= MOST_ADDRESSES and not self._forget_one(now):
            self._elsewhere += 1
            return None
        at, untold = self._told.get(address, (now - EVERY_S, 0))
        if now - at < EVERY_S:
            self._told[address] = (at, untold + 1)
            return None
        self._told.pop(address, None)
        self._told[address] = (now, 0)
        return untold

    def _forget_one(self, now: float) -> bool:
        """False if each of them had a line just now."""
        oldest, (at, untold) = next(iter(self._told.items()))
        if now - at < EVERY_S:
            return False
        self._elsewhere += untold
        del self._told[oldest]
        return True


def _address_of(scope: Scope) -> str:
    """As the server knows it: behind a proxy that it believes, what that says. A client at a Unix socket has none."""
    client = scope.get("client")
    return "local" if client is None else client[0]
