"""The Subscriptions over a database."""

from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection, Integer, bindparam, insert, select

from danqing.core.states import JobState
from danqing.core.types import Job
from danqing.store import loading
from danqing.store.database import Database
from danqing.store.queries import in_states
from danqing.store.schema import jobs, subscriptions

FEW = 200  # subscriptions of a client

_FINAL = in_states(*(state for state in JobState if state.is_final))
_UNDER_WAY = in_states(*(state for state in JobState if not state.is_final))
_OF_CLIENT = select(subscriptions.c.sequence, subscriptions.c.job_id).where(
    subscriptions.c.owner == bindparam("owner"), subscriptions.c.client == bindparam("client")
)
_NEWEST_FIRST = _OF_CLIENT.order_by(subscriptions.c.sequence.desc())
_FEW = _NEWEST_FIRST.limit(FEW).subquery()
# Two ways to the jobs under way: through the subscriptions while they are few; else, as there may be any number of
# them, through the queue, which is bounded.
IS_ONE_MORE = _NEWEST_FIRST.limit(1).offset(FEW)
UNDER_WAY_OF_FEW = select(_FEW).join(jobs, jobs.c.id == _FEW.c.job_id).where(_UNDER_WAY)
UNDER_WAY_OF_MANY = _OF_CLIENT.where(subscriptions.c.job_id.in_(select(jobs.c.id).where(_UNDER_WAY)))
NEWEST_ENDED = _NEWEST_FIRST.where(
    select(jobs.c.id).where(jobs.c.id == subscriptions.c.job_id, _FINAL).exists(),
).limit(bindparam("ended", type_=Integer))
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

    async def jobs(self, owner: str, client: str, *, ended: int) -> Sequence[Job]:
        return await self._database.read(partial(_jobs, owner=owner, client=client, ended=ended))


def _add(connection: Connection, owner: str, client: str, job_id: str) -> None:
    values = {"owner": owner, "client": client, "job_id": job_id}
    if connection.execute(FIND, values).first() is None:
        connection.execute(INSERT, values)


def _jobs(connection: Connection, owner: str, client: str, ended: int) -> Sequence[Job]:
    of_client = {"owner": owner, "client": client}
    are_many = connection.execute(IS_ONE_MORE, of_client).first() is not None
    found = [
        *connection.execute(UNDER_WAY_OF_MANY if are_many else UNDER_WAY_OF_FEW, of_client),
        *connection.execute(NEWEST_ENDED, {**of_client, "ended": ended}),
    ]
    return loading.readable(connection, [job_id for _, job_id in sorted(found, reverse=True)])
