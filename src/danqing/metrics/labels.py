"""Keeps the number of a label's values bounded, whatever comes."""

from collections.abc import Collection

OTHER = "other"


class KnownLabels:
    """Values that a label may have; everything else is `OTHER`."""

    def __init__(self, known: Collection[str]) -> None:
        self._known = frozenset(known)

    def of(self, value: str) -> str:
        """The value, if it is known."""
        return value if value in self._known else OTHER
