"""The issued keys over a database."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import date
from functools import partial

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update

from danqing.core.issued_keys import IssuedKey
from danqing.store.database import Database
from danqing.store.schema import issued_keys

_ALL = select(issued_keys).order_by(issued_keys.c.created_at.desc(), issued_keys.c.id)
_ADD = insert(issued_keys)
_FIND = select(issued_keys.c.id).where(issued_keys.c.id == bindparam("of_id"))
_NOTE = (
    update(issued_keys)
    .where(issued_keys.c.id.in_(bindparam("ids", expanding=True)))
    .where(or_(issued_keys.c.last_used_on.is_(None), issued_keys.c.last_used_on < bindparam("day")))
    .values(last_used_on=bindparam("day"))
)
_REMOVE = delete(issued_keys).where(issued_keys.c.id == bindparam("of_id"))


class SqlIssuedKeys:
    """Implements `core.issued_keys.IssuedKeys`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: IssuedKey) -> None:
        """See the port; so for all below."""
        await self._database.write(partial(_add, key=key), durable=True, proof=partial(_has, key=key))

    async def all(self) -> Sequence[IssuedKey]:
        return await self._database.read(_read)

    async def note_used(self, key_ids: Collection[str], day: date) -> None:
        await self._database.write(partial(_note, key_ids=list(key_ids), day=day), durable=False)

    async def remove(self, key_id: str) -> None:
        await self._database.write(partial(_remove, key_id=key_id), durable=True)


def _add(connection: Connection, key: IssuedKey) -> bool:
    connection.execute(_ADD, asdict(key))
    return True


def _has(connection: Connection, key: IssuedKey) -> bool | None:
    return connection.execute(_FIND, {"of_id": key.id}).first() is not None or None


def _note(connection: Connection, key_ids: list[str], day: date) -> None:
    connection.execute(_NOTE, {"ids": key_ids, "day": day})


def _remove(connection: Connection, key_id: str) -> None:
    connection.execute(_REMOVE, {"of_id": key_id})


def _read(connection: Connection) -> list[IssuedKey]:
    return [IssuedKey(**row) for row in connection.execute(_ALL).mappings()]
