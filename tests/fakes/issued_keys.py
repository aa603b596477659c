"""Issued keys in memory."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date

from danqing.core.issued_keys import IssuedKey


class InMemoryIssuedKeys:
    """An `IssuedKeys`."""

    def __init__(self) -> None:
        self._keys: dict[str, IssuedKey] = {}

    async def add(self, key: IssuedKey) -> None:
        self._keys[key.id] = key

    async def all(self) -> Sequence[IssuedKey]:
        return sorted(self._keys.values(), key=lambda key: key.created_at, reverse=True)

    async def note_used(self, key_ids: Collection[str], day: date) -> None:
        for key in [key for key in self._keys.values() if key.id in key_ids]:
            self._keys[key.id] = replace(key, last_used_on=max(day, key.last_used_on or day))

    async def remove(self, key_id: str) -> None:
        self._keys.pop(key_id, None)
