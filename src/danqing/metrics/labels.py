"""Labels of metrics: their number is bounded, whatever comes, and each is looked for once."""

from collections.abc import Collection
from typing import Generic, TypeVar

from prometheus_client import Counter, Histogram

M = TypeVar("M", Counter, Histogram)

OTHER = "other"


class KnownLabels:
    """Values that a label may have; everything else is `OTHER`."""

    def __init__(self, known: Collection[str]) -> None:
        self._known = frozenset(known)

    def of(self, value: str) -> str:
        """The value, if it is known."""
        return value if value in self._known else OTHER


class ByLabels(Generic[M]):
    """The parts of a metric by their labels' values, each looked for once: that takes longer than to count with it."""

    def __init__(self, metric: M) -> None:
        self._metric = metric
        self._found: dict[tuple[str, ...], M] = {}

    def of(self, *values: str) -> M:
        """As `metric.labels`. Of values that are known to be few."""
        if (found := self._found.get(values)) is None:
            found = self._found[values] = self._metric.labels(*values)
        return found
