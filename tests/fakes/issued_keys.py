"""Issued keys in memory."""

from collections.abc import Sequence

from danqing.core.issued_keys import IssuedKey


class InMemoryIssuedKeys:
    """An `IssuedKeys`."""

    def __init__(self) -> None:
        self._keys: dict[str, IssuedKey] = {}

    async def add(self, key: IssuedKey) -> None:
        self._keys[key.id] = key

    async def all(self) -> Sequence[IssuedKey]:
        return sorted(self._keys.values(), key=lambda key: key.created_at, reverse=True)

    async def remove(self, key_id: str) -> None:
        self._keys.pop(key_id, None)
