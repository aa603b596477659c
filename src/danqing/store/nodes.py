"""The Nodes over a PostgreSQL database: leases by its clock, and the jobs that nobody holds any more."""

from collections.abc import Mapping, Sequence
from functools import partial

import structlog
from sqlalchemy import Connection, Integer, Text, and_, bindparam, delete, func, not_, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from danqing.core.errors import StorageFailure
from danqing.core.shared_store import Node
from danqing.core.states import JobState
from danqing.core.types import Job
from danqing.store import loading, queries
from danqing.store.database import Database
from danqing.store.node_rows import node_from, workers_text
from danqing.store.schema import attempts, jobs
from danqing.store.shared_schema import nodes

log = structlog.get_logger(__name__)

FORGOTTEN_AFTER = text("interval '1 day'")  # a node whose lease ended so long ago is not worth a row

_NOW = func.clock_timestamp()  # not that of the transaction's beginning: it may have waited
_LIVES = nodes.c.lease_until > _NOW
_LEASE_END = _NOW + func.make_interval(0, 0, 0, 0, 0, 0, bindparam("lease_s"))
_BEAT = insert(nodes).values(lease_until=_LEASE_END, drain_asked=False)
BEAT = _BEAT.on_conflict_do_update(
    index_elements=[nodes.c.id],
    set_={name: _BEAT.excluded[name] for name in ("name", "lease_until", "draining", "workers")},
).returning(nodes.c.drain_asked)
FORGET = delete(nodes).where(nodes.c.lease_until < _NOW - FORGOTTEN_AFTER)
LEAVE = delete(nodes).where(nodes.c.id == bindparam("of_id"))
ALIVE = select(nodes).where(_LIVES).order_by(nodes.c.name, nodes.c.id)
_OF_NAME = bindparam("of_name", type_=Text)
ASK_TO_DRAIN = (
    update(nodes).where(_LIVES, or_(nodes.c.name == _OF_NAME, nodes.c.id == _OF_NAME)).values(drain_asked=True)
)

_RUNS = queries.in_states(*queries.RUNNING)
_NEWEST_ATTEMPT = and_(attempts.c.job_id == jobs.c.id, attempts.c.number == jobs.c.attempt_count)
_NODE_OF = func.regexp_replace(attempts.c.worker, "/[^/]*$", "")
_RUNNING = select(jobs.c.id, jobs.c.attempt_count).join_from(jobs, attempts, _NEWEST_ATTEMPT).where(_RUNS)
ORPHANS = (
    _RUNNING.where(not_(_NODE_OF.in_(select(nodes.c.id).where(_LIVES))))
    .order_by(jobs.c.sequence)
    .limit(bindparam("most", type_=Integer))
)
HELD = _RUNNING.where(bindparam("of_node", type_=Text) == _NODE_OF)
WHERE_THEY_ARE = select(jobs.c.id, jobs.c.state, jobs.c.attempt_count).where(
    jobs.c.id.in_(bindparam("ids", expanding=True))
)
MOST_IDS_AT_ONCE = 500


class PostgresNodes:
    """Implements `core.shared_store.Nodes`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._told = frozenset[str]()  # orphans that this version cannot read

    async def beat(self, node: Node, *, lease_s: float) -> bool:
        """See the port; so for all below."""
        return await self._database.write(partial(_beat, node=node, lease_s=lease_s), durable=False)

    async def leave(self, node_id: str) -> None:
        def work(connection: Connection) -> None:
            connection.execute(LEAVE, {"of_id": node_id})

        await self._database.write(work, durable=False)

    async def alive(self) -> Sequence[Node]:
        return await self._database.read(
            lambda connection: [node_from(row) for row in connection.execute(ALIVE).mappings()]
        )

    async def ask_to_drain(self, name: str) -> int:
        def work(connection: Connection) -> int:
            return connection.execute(ASK_TO_DRAIN, {"of_name": name}).rowcount

        return await self._database.write(work, durable=True)

    async def orphans(self, *, most: int = 100) -> Sequence[Job]:
        found, unread = await self._database.read(partial(_orphans, most=most))
        for job_id in unread - self._told:
            log.error("orphan_unreadable", job_id=job_id, hint="it is left to a process whose version can read it")
        self._told = unread
        return found

    async def held(self, node_id: str) -> Mapping[str, int]:
        return await self._database.read(partial(_held, node_id=node_id))

    async def outdated(self, attempts: Mapping[str, int]) -> Sequence[str]:
        return await self._database.read(partial(_outdated, attempts=attempts))


def _beat(connection: Connection, node: Node, lease_s: float) -> bool:
    connection.execute(FORGET)
    values = {
        "id": node.id,
        "name": node.name,
        "started_at": node.started_at,
        "draining": node.draining,
        "workers": workers_text(node.workers),
        "lease_s": lease_s,
    }
    return connection.execute(BEAT, values).scalar_one()


def _orphans(connection: Connection, most: int) -> tuple[list[Job], frozenset[str]]:
    """Those that can be read, and the ids of the others."""
    job_ids = [job_id for job_id, _ in connection.execute(ORPHANS, {"most": most})]
    found, unread = list[Job](), set[str]()
    for rows in loading.rows_of(connection, job_ids):
        try:
            found.append(rows.job())
        except StorageFailure:
            unread.add(rows.row["id"])
    return found, frozenset(unread)


def _held(connection: Connection, node_id: str) -> Mapping[str, int]:
    return {job_id: number for job_id, number in connection.execute(HELD, {"of_node": node_id})}


def _outdated(connection: Connection, attempts: Mapping[str, int]) -> Sequence[str]:
    job_ids, current = list(attempts), dict[str, int]()
    for start in range(0, len(job_ids), MOST_IDS_AT_ONCE):
        chunk = {"ids": job_ids[start : start + MOST_IDS_AT_ONCE]}
        for job_id, state, number in connection.execute(WHERE_THEY_ARE, chunk):
            if JobState(state) in queries.RUNNING:
                current[job_id] = number
    return [job_id for job_id, number in attempts.items() if current.get(job_id) != number]
