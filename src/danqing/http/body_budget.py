"""How much of all requests' bodies is in memory at once, how many of their files are open, and of each owner's."""

from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Self

from starlette.requests import Request

from danqing.core.errors import TooBusy
from danqing.http.open_files import most_open_files

MAX_HELD_BYTES = 160 * 1024 * 1024
MAX_OWN_BYTES = 128 * 1024 * 1024  # of one owner's requests, so that there is room for the others'
# Of one body: none is in memory as a whole that is larger (forms' files and JSON's pictures lie on the disk).
COUNTED_AT_MOST_BYTES = 2 * 1024 * 1024
WIDEST = 4  # bytes in memory for one that came: of a decoded text with a single emoji
FREE_BYTES = 64 * 1024  # of each body; the small ones get through however much room the large ones take
# Files of forms on the disk: at most half of what the process may have open; half of these for one owner's requests.
MAX_OPEN_FILES = 8192
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
    """What one request holds, until it is left as a context. Made by `BodyBudget.held`.

    refused: why it may not go on, if that was said; whoever raised it may have been taken for something else.
    """

    _outer: "Token[Held | None]"

    def __init__(self, budget: "BodyBudget", owner: str) -> None:
        self._budget = budget
        self._owner = owner
        self._counted = 0
        self._open_files = 0
        self.refused: Exception | None = None

    def __enter__(self) -> Self:
        """See above. `held_now` answers it inside."""
        self._outer = _now.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Releases it, with what was not closed."""
        _now.reset(self._outer)
        self.release()
        while self._open_files:
            self.close_file()

    def grow_to(self, received_bytes: int) -> None:
        """So much of the body has come. Raises TooBusy if there is no room for it."""
        wanted = min(WIDEST * max(0, received_bytes - FREE_BYTES), COUNTED_AT_MOST_BYTES)
        if wanted > self._counted:
            self._budget.take(wanted - self._counted, self._owner)
            self._counted = wanted

    def release(self) -> None:
        """Nothing of it is needed in memory any more."""
        if self._counted:
            self._budget.give_back(self._counted, self._owner)
            self._counted = 0

    def open_file(self) -> None:
        """One of its files is about to be opened. Raises TooBusy if too many are."""
        try:
            self._budget.take_file(self._owner)
        except TooBusy as exc:
            self.refused = exc
            raise
        self._open_files += 1

    def close_file(self) -> None:
        """It is closed. After the context nothing is left to be closed."""
        if self._open_files:
            self._open_files -= 1
            self._budget.give_back_file(self._owner)


_now = ContextVar[Held | None]("held_now", default=None)


def held_now() -> Held:
    """Of the request that is being answered; outside of any, one that counts for nobody."""
    return _now.get() or BodyBudget().held()


class BodyBudget:
    """One for the whole process. For one event loop."""

    def __init__(
        self,
        max_held_bytes: int = MAX_HELD_BYTES,
        max_own_bytes: int = MAX_OWN_BYTES,
        *,
        max_open_files: int = MAX_OPEN_FILES,
    ) -> None:
        self._max_held_bytes = max_held_bytes
        self._max_own_bytes = max_own_bytes
        self._max_open_files = max_open_files
        self._held_bytes = 0
        self._own_bytes = Counter[str]()
        self._open_files = 0
        self._own_open_files = Counter[str]()

    @property
    def held_bytes(self) -> int:
        """As of now, without what is free."""
        return self._held_bytes

    @property
    def open_files(self) -> int:
        """As of now."""
        return self._open_files

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

    def take_file(self, owner: str) -> None:
        """Raises TooBusy."""
        most = min(self._max_open_files, most_open_files() // 2)
        if self._open_files >= most or self._own_open_files[owner] >= (most + 1) // 2:
            raise TooBusy
        self._open_files += 1
        self._own_open_files[owner] += 1

    def give_back_file(self, owner: str) -> None:
        """What `take_file` gave."""
        self._open_files -= 1
        self._own_open_files[owner] -= 1
        if not self._own_open_files[owner]:
            del self._own_open_files[owner]
