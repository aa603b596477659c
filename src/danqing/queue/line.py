"""The waiting jobs of one model: each owner's in a heap, and over the owners a heap of those that come first."""

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

_DEAD_AT_LEAST = 32  # withdrawn entries of an owner, before they are looked for


class Entry(NamedTuple):
    """Smaller is taken earlier; no two are equal, for no two have one arrival."""

    before: int  # the priority, negated
    turn: int
    sequence: int
    arrival: int
    job_id: str
    owner: str


@dataclass
class _Lane:
    """One owner's entries. shown: the one that stands for him among the owners; None: he does not stand there."""

    entries: list[Entry] = field(default_factory=list[Entry])
    shown: Entry | None = None
    dead: int = 0  # withdrawn, and still in entries


class Line:
    """Every call takes O(log n) of the number of entries, `withdraw` on average. Withdrawn entries are left where they
    are and passed over, until they are half of an owner's.
    """

    def __init__(self) -> None:
        self._alive: set[int] = set()  # arrivals
        self._lanes: dict[str, _Lane] = {}
        self._owners: list[Entry] = []  # a heap of what is shown, or was
        self._at: Counter[int] = Counter()

    def __len__(self) -> int:
        """Number of entries."""
        return len(self._alive)

    def waiting_at(self, before: int) -> int:
        """Number of entries of a priority, negated."""
        return self._at[before]

    def add(self, entry: Entry) -> None:
        """One more."""
        lane = self._lanes.setdefault(entry.owner, _Lane())
        heapq.heappush(lane.entries, entry)
        self._alive.add(entry.arrival)
        self._at[entry.before] += 1
        if lane.shown is None or entry < lane.shown:
            self._show(entry.owner)

    def withdraw(self, entry: Entry) -> None:
        """One that is there is there no more."""
        self._alive.remove(entry.arrival)
        self._at[entry.before] -= 1
        lane = self._lanes[entry.owner]
        lane.dead += 1
        if lane.dead >= max(_DEAD_AT_LEAST, len(lane.entries) // 2):
            lane.entries = [other for other in lane.entries if other.arrival in self._alive]
            heapq.heapify(lane.entries)
            lane.dead = 0
            self._show(entry.owner)

    def first(self, is_held: Callable[[str], bool]) -> Entry | None:
        """The next of those whose owner is not held; `show_again` once he is not any more."""
        while self._owners:
            entry = self._owners[0]
            lane = self._lanes.get(entry.owner)
            if lane is not None and lane.shown is entry:
                if entry.arrival not in self._alive:
                    self._show(entry.owner)
                elif is_held(entry.owner):
                    lane.shown = None
                else:
                    return entry
            else:
                heapq.heappop(self._owners)
        return None

    def show_again(self, owner: str) -> None:
        """He is held no more."""
        if owner in self._lanes:
            self._show(owner)

    def _show(self, owner: str) -> None:
        """His next entry stands for him from now on."""
        lane = self._lanes[owner]
        while lane.entries and lane.entries[0].arrival not in self._alive:
            heapq.heappop(lane.entries)
            lane.dead -= 1
        if not lane.entries:
            del self._lanes[owner]
        elif lane.shown is not lane.entries[0]:
            lane.shown = lane.entries[0]
            heapq.heappush(self._owners, lane.shown)
