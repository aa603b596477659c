"""Tickets: what a browser's WebSocket shows in place of a key, because it cannot send a header."""

from typing import Protocol

from danqing.core.callers import Caller

LIFETIME_S = 60
MAX_WAITING = 10_000


class Tickets(Protocol):
    """Each opens one WebSocket, once, within LIFETIME_S seconds.

    Of more than MAX_WAITING that nobody has used the oldest go.
    """

    async def issue(self, caller: Caller) -> str:
        """For a caller who has shown his key. Raises Unavailable."""
        ...

    async def redeem(self, ticket: str) -> Caller | None:
        """Who it was issued to; None for one that was used, has expired or never was. Raises Unavailable where nobody
        can say.
        """
        ...
