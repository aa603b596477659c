"""The Subscriptions over a database."""

from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection, Integer, bindparam, insert, select

from danqing.core.types import Job
from danqing.store import loading
from danqing.store.database import Database
from danqing.store.schema import subscriptions

OF_CLIENT = (
    select(subscriptions.c.job_id)
    .where(subscriptions.c.owner == bindparam("owner"), subscriptions.c.client == bindparam("client"))
    .order_by(subscriptions.c.sequence.desc())
    .limit(bindparam("newest", type_=Integer))
)
FIND = select(subscriptions.c.sequence).where(
    subscriptions.c.owner == bindparam("owner"),
    subscriptions.c.client == bindparam("client"),
    subscriptions.c.job_id == bindparam("job_id"),
)
INSERT = insert(subscriptions)


class SqlSubscriptions:
    """Implements `core.ports.Subscriptions`. A job that is not stored cannot be subscribed to: StorageFailure."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, owner: str, client: str, job_id: str) -> None:
        """See the port; so for all below."""
        await self._database.write(partial(_add, owner=owner, client=client, job_id=job_id), durable=True)

    async def jobs(self, owner: str, client: str, *, limit: int) -> Sequence[Job]:
        return await self._database.read(partial(_jobs, owner=owner, client=client, limit=limit))


def _add(connection: Connection, owner: str, client: str, job_id: str) -> None:
    values = {"owner": owner, "client": client, "job_id": job_id}
    if connection.execute(FIND, values).first() is None:
        connection.execute(INSERT, values)


def _jobs(connection: Connection, owner: str, client: str, limit: int) -> Sequence[Job]:
    ids = connection.execute(OF_CLIENT, {"owner": owner, "client": client, "newest": limit})
    return loading.readable(connection, ids.scalars().all())
