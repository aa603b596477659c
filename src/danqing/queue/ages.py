"""When the jobs that wait were accepted, by model: how many there are, and which is the oldest."""

import heapq
from collections.abc import Mapping
from datetime import datetime

from danqing.core.shared_store import Waiting

_DEAD_AT_LEAST = 32  # removed ids of a model, before they are looked for


class WaitingAges:
    """Every call takes O(log n), `remove` on average, `all` for each model. Removed ids are passed over in the heaps,
    until they are half of one.
    """

    def __init__(self) -> None:
        self._alive: dict[str, dict[str, datetime]] = {}  # by model, then by job id
        self._heaps: dict[str, list[tuple[datetime, str]]] = {}

    def add(self, model: str, job_id: str, accepted: datetime) -> None:
        """One more waits; adding it again changes nothing."""
        alive = self._alive.setdefault(model, {})
        if job_id not in alive:
            alive[job_id] = accepted
            heapq.heappush(self._heaps.setdefault(model, []), (accepted, job_id))

    def remove(self, model: str, job_id: str) -> None:
        """It waits no more; unknown ids are fine."""
        alive = self._alive.get(model, {})
        if alive.pop(job_id, None) is None:
            return
        if not alive:
            del self._alive[model], self._heaps[model]
        elif len(self._heaps[model]) >= 2 * len(alive) + _DEAD_AT_LEAST:
            self._heaps[model] = [(accepted, other) for other, accepted in alive.items()]
            heapq.heapify(self._heaps[model])

    def all(self) -> Mapping[str, Waiting]:
        """Models of which none waits are left out."""
        return {model: Waiting(jobs=len(alive), oldest=self._oldest(model)) for model, alive in self._alive.items()}

    def _oldest(self, model: str) -> datetime:
        heap, alive = self._heaps[model], self._alive[model]
        while heap[0][1] not in alive:
            heapq.heappop(heap)
        return heap[0][0]
