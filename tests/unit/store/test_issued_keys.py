"""The stores of issued keys: the contract, and that keys outlive the server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from danqing.core.clock import utc_now
from danqing.core.issued_keys import IssuedKeys, KeyRing
from danqing.store.issued_keys import SqlIssuedKeys
from danqing.store.sqlite import SqliteStores
from tests.contracts.issued_keys import IssuedKeysContract
from tests.fakes.issued_keys import InMemoryIssuedKeys


class TestInMemoryIssuedKeys(IssuedKeysContract):
    implementation = InMemoryIssuedKeys

    @pytest.fixture
    def keys(self) -> IssuedKeys:
        return InMemoryIssuedKeys()


class TestSqlIssuedKeys(IssuedKeysContract):
    implementation = SqlIssuedKeys

    @pytest.fixture
    async def keys(self, tmp_path: Path) -> AsyncIterator[IssuedKeys]:
        stores = await asyncio.to_thread(SqliteStores.open, tmp_path / "db")
        yield stores.issued_keys
        await stores.close()


async def test_a_key_is_known_after_a_restart_and_kept_nowhere(tmp_path: Path) -> None:
    # Given a key that was issued
    stores = await asyncio.to_thread(SqliteStores.open, tmp_path / "db")
    key, text = await KeyRing(stores.issued_keys, clock=utc_now).issue("Anne")
    await stores.close()
    # When the server starts again
    stores = await asyncio.to_thread(SqliteStores.open, tmp_path / "db")
    ring = KeyRing(stores.issued_keys, clock=utc_now)
    async with ring.kept_fresh():
        # Then it is held, and no file has the key itself
        assert ring.holds(bytes.fromhex(key.digest))
        assert not any(text.encode() in content for content in _contents(tmp_path))
    await stores.close()


def _contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.iterdir()]
