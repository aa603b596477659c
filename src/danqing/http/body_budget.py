"""How much of all requests' bodies is in memory at once, and of each owner's."""

from collections import Counter
from collections.abc import Callable
from typing import Self

from starlette.requests import Request

from danqing.core.errors import TooBusy

MAX_HELD_BYTES = 160 * 1024 * 1024
MAX_OWN_BYTES = 128 * 1024 * 1024  # of one owner's requests, so that there is room for the others'
# Of one body: none is in memory as a whole that is larger (forms' files and JSON's pictures lie on the disk).
COUNTED_AT_MOST_BYTES = 2 * 1024 * 1024
WIDEST = 4  # bytes in memory for one that came: of a decoded text with a single emoji
FREE_BYTES = 64 * 1024  # of each body; the small ones get through however much room the large ones take
RELEASE_KEY = "danqing.release_body"  # in the scope: what `release_body` calls


def release_body(request: Request) -> None:
    """For a route that has done with the body and will be long: gives back the room that it took in memory, with what
    the request remembers of it. Forms must be closed.
    """
    remembered = vars(request)
    for name in ("_body", "_json"):
        remembered.pop(name, None)
    remembered["_form"] = None
    release: Callable[[], None] | None = request.scope.get(RELEASE_KEY)
    if release is not None:
        release()


class Held:
    """What one request holds, until it is left as a context. Made by `BodyBudget.held`."""

    def __init__(self, budget: "BodyBudget", owner: str) -> None:
        self._budget = budget
        self._owner = owner
        self._counted = 0

    def __enter__(self) -> Self:
        """See above."""
        return self

    def __exit__(self, *_: object) -> None:
        """Releases it."""
        self.release()

    def grow_to(self, received_bytes: int) -> None:
        """So much of the body has come. Raises TooBusy if there is no room for it."""
        wanted = min(WIDEST * max(0, received_bytes - FREE_BYTES), COUNTED_AT_MOST_BYTES)
        if wanted > self._counted:
            self._budget.take(wanted - self._counted, self._owner)
            self._counted = wanted

    def release(self) -> None:
        """Nothing of it is needed any more."""
        if self._counted:
            self._budget.give_back(self._counted, self._owner)
            self._counted = 0


class BodyBudget:
    """One for the whole process. For one event loop."""

    def __init__(self, max_held_bytes: int = MAX_HELD_BYTES, max_own_bytes: int = MAX_OWN_BYTES) -> None:
        self._max_held_bytes = max_held_bytes
        self._max_own_bytes = max_own_bytes
        self._held_bytes = 0
        self._own_bytes = Counter[str]()

    @property
    def held_bytes(self) -> int:
        """As of now, without what is free."""
        return self._held_bytes

    def held(self, owner: str = "") -> Held:
        """For the time of one request. owner: empty for nobody known."""
        return Held(self, owner)

    def take(self, more: int, owner: str) -> None:
        """Raises TooBusy."""
        if self._held_bytes + more > self._max_held_bytes or self._own_bytes[owner] + more > self._max_own_bytes:
            raise TooBusy
        self._held_bytes += more
        self._own_bytes[owner] += more

    def give_back(self, counted: int, owner: str) -> None:
        """What `take` gave."""
        self._held_bytes -= counted
        self._own_bytes[owner] -= counted
        if not self._own_bytes[owner]:
            del self._own_bytes[owner]
