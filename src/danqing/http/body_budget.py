"""How much of all requests' bodies is in memory at once."""

from collections.abc import Generator
from contextlib import contextmanager

from danqing.core.errors import TooBusy

MAX_HELD_BYTES = 128 * 1024 * 1024
# Of one body: none is in memory as a whole that is larger (forms' files and JSON's pictures lie on the disk).
COUNTED_AT_MOST_BYTES = 2 * 1024 * 1024
FREE_BYTES = 64 * 1024  # of each body; the small ones get through however much room the large ones take


class Held:
    """What one request holds. Made by `BodyBudget.held`."""

    def __init__(self, budget: "BodyBudget") -> None:
        self._budget = budget
        self._counted = 0

    def grow_to(self, received_bytes: int) -> None:
        """So much of the body has come. Raises TooBusy if there is no room for it."""
        wanted = max(0, min(received_bytes, COUNTED_AT_MOST_BYTES) - FREE_BYTES)
        if wanted > self._counted:
            self._budget.take(wanted - self._counted)
            self._counted = wanted

    def release(self) -> None:
        """Nothing of it is needed any more."""
        self._budget.give_back(self._counted)
        self._counted = 0


class BodyBudget:
    """One for the whole process. For one event loop."""

    def __init__(self, max_held_bytes: int = MAX_HELD_BYTES) -> None:
        self._max_held_bytes = max_held_bytes
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """As of now, without what is free."""
        return self._held_bytes

    @contextmanager
    def held(self) -> Generator[Held]:
        """For the time of one request."""
        held = Held(self)
        try:
            yield held
        finally:
            held.release()

    def take(self, more: int) -> None:
        """Raises TooBusy."""
        if self._held_bytes + more > self._max_held_bytes:
            raise TooBusy
        self._held_bytes += more

    def give_back(self, counted: int) -> None:
        """What `take` gave."""
        self._held_bytes -= counted
