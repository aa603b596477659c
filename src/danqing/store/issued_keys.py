"""The issued keys over a database."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from sqlalchemy import Connection, bindparam, delete, insert, select

from danqing.core.issued_keys import IssuedKey
from danqing.store.database import Database
from danqing.store.schema import issued_keys

_ALL = select(issued_keys).order_by(issued_keys.c.created_at.desc(), issued_keys.c.id)
_ADD = insert(issued_keys)
_REMOVE = delete(issued_keys).where(issued_keys.c.id == bindparam("of_id"))


class SqlIssuedKeys:
    """Implements `core.issued_keys.IssuedKeys`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: IssuedKey) -> None:
        """See the port; so for all below."""
        await self._database.write(partial(_add, key=key), durable=True)

    async def all(self) -> Sequence[IssuedKey]:
        return await self._database.read(_read)

    async def remove(self, key_id: str) -> None:
        await self._database.write(partial(_remove, key_id=key_id), durable=True)


def _add(connection: Connection, key: IssuedKey) -> None:
    connection.execute(_ADD, asdict(key))


def _remove(connection: Connection, key_id: str) -> None:
    connection.execute(_REMOVE, {"of_id": key_id})


def _read(connection: Connection) -> list[IssuedKey]:
    return [IssuedKey(**row) for row in connection.execute(_ALL).mappings()]
