"""Who is next: a few places, and owners who wait take turns, however much each of them wants."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from danqing.core.errors import TooBusy


class Turns:
    """For one event loop.

    places: how many have their turn at once. most_waiting, most_waiting_of_one: how many may wait, in all and of one
    owner.
    """

    def __init__(self, places: int, *, most_waiting: int, most_waiting_of_one: int) -> None:
        self._free = places
        self._most_waiting = most_waiting
        self._most_waiting_of_one = most_waiting_of_one
        self._waiting = 0
        self._owners: dict[str, deque[asyncio.Future[None]]] = {}  # who waits; the first is served next

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncGenerator[None]:
        """Waits for a place, which is held inside. Raises TooBusy instead of waiting where too many do."""
        await self._enter(owner)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, owner: str) -> None:
        if self._free:
            self._free -= 1
            return
        queue = self._owners.get(owner, deque())
        if self._waiting >= self._most_waiting or len(queue) >= self._most_waiting_of_one:
            raise TooBusy
        place = asyncio.get_running_loop().create_future()
        queue.append(place)
        self._owners[owner] = queue
        self._waiting += 1
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._forget(owner, place)
            else:  # it was given at the same moment
                self._leave()
            raise

    def _leave(self) -> None:
        """The place goes to the next owner, who then is the last in the row; it is free only if nobody waits."""
        while self._owners:
            owner = next(iter(self._owners))
            queue = self._owners.pop(owner)
            place = queue.popleft()
            if queue:
                self._owners[owner] = queue
            self._waiting -= 1
            if not place.cancelled():  # else its task has yet to notice
                place.set_result(None)
                return
        self._free += 1

    def _forget(self, owner: str, place: asyncio.Future[None]) -> None:
        queue = self._owners.get(owner, deque())
        if place not in queue:  # it came to be passed over in the meantime
            return
        queue.remove(place)
        self._waiting -= 1
        if not queue:
            del self._owners[owner]
