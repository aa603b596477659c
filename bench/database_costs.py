"""What a job costs PostgreSQL, measured by itself: transactions, processor time, log bytes; and what a heartbeat does.

For `capacity.py`. The calls are those that API processes and nodes make, through the stores themselves.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import psycopg
from part_costs import Cost, Meter, busy_s

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the tests' helpers

from danqing.core.clock import utc_now
from danqing.core.shared_store import Node, worker_of_node
from danqing.core.types import DeviceStatus, Job, WorkerState, WorkerStatus
from danqing.store.postgres import PostgresStores
from tests.fakes.domain import a_job, an_original

NO_LIMIT = 10_000_000
AT_ONCE = 16
TAKERS = 4  # nodes that choose at the same moment
LEASE_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class DatabaseCosts:
    """Of one job each but beat, which is one heartbeat, and look, which compares fifty watched jobs with the store.

    submit: stored. make: chosen, claimed, completed. transactions, wal_bytes: of both. one_owner_per_s: jobs that one
    owner's submits, sixteen at once, could add in a second.
    """

    submit: Cost
    make: Cost
    poll: Cost
    beat: Cost
    look: Cost
    transactions: float
    wal_bytes: float
    one_owner_per_s: float


def measure_database(url: str, postmaster: int, *, jobs: int, waiting: int) -> DatabaseCosts:
    """waiting: jobs of many owners that lie in the line meanwhile."""
    return asyncio.run(_measure(url, postmaster, jobs, waiting))


async def _measure(url: str, postmaster: int, jobs: int, waiting: int) -> DatabaseCosts:
    stores = await asyncio.to_thread(PostgresStores.open, url)
    busy = partial(busy_s, postmaster)
    try:
        await _many([lambda n=n: _add(stores, f"owner {n % 100}", "behind") for n in range(waiting)])
        await asyncio.to_thread(_analyse, url)
        node = Node(id="n", name="n", started_at=utc_now(), workers=(_worker(),))
        await stores.nodes.beat(node, lease_s=LEASE_S)
        before = await asyncio.to_thread(_totals, url)
        added: list[Job] = []

        async def add(n: int) -> None:
            added.append(await _add(stores, f"owner {n % 100}", "tiny"))

        with Meter(busy) as submitting:
            await _many([lambda n=n: add(n) for n in range(jobs)])
        with Meter(busy) as making:
            await _many([lambda: _make(stores) for _ in added], TAKERS)
        # A session tells of its transactions when it has been idle for a while.
        await asyncio.sleep(1.5)
        after = await asyncio.to_thread(_totals, url)
        with Meter(busy) as polling:
            await _many([lambda job=job: stores.jobs.get(job.id) for job in added])
        with Meter(busy) as beating:
            await _many([lambda n=n: _beat(stores, n) for n in range(jobs)])
        with Meter(busy) as looking:
            some = [job.id for job in added[:50]]
            await _many([lambda: stores.jobs.ages(some) for _ in range(jobs // 4)])
        with Meter(busy) as alone:
            await _many([lambda: _add(stores, "one owner", "behind") for _ in range(jobs)])
        return DatabaseCosts(
            submit=submitting.cost(jobs),
            make=making.cost(jobs),
            poll=polling.cost(jobs),
            beat=beating.cost(jobs),
            look=looking.cost(jobs // 4),
            transactions=(after[0] - before[0]) / jobs,
            wal_bytes=(after[1] - before[1]) / jobs,
            one_owner_per_s=jobs / alone.seconds,
        )
    finally:
        await stores.close()


async def _many(calls: list[Callable[[], Awaitable[object]]], at_once: int = AT_ONCE) -> None:
    """So many at a time."""
    left = iter(calls)

    async def some() -> None:
        for call in left:
            await call()

    await asyncio.gather(*(some() for _ in range(at_once)))


async def _add(stores: PostgresStores, owner: str, model: str) -> Job:
    job = a_job(owner=owner)
    return await stores.jobs.add(replace(job, request=replace(job.request, model=model)), NO_LIMIT)


async def _make(stores: PostgresStores) -> None:
    """As a node does that was told that there is work: the line says which."""
    if (claimed := await stores.line.claim("tiny", worker_of_node("n", "cpu"), utc_now())) is not None:
        await stores.jobs.complete(claimed.id, len(claimed.attempts), [an_original(claimed)], [], utc_now())


async def _beat(stores: PostgresStores, number: int) -> None:
    node = Node(id=f"n{number % 1000}", name="n", started_at=_STARTED, workers=(_worker(),))
    await stores.nodes.beat(node, lease_s=LEASE_S)
    await stores.nodes.outdated({})


_STARTED: datetime = utc_now()


def _worker() -> WorkerStatus:
    device = DeviceStatus(id="cuda:0", name="a GPU", kind="cuda", memory_total_bytes=80 << 30)
    return WorkerStatus(id="cuda-0", state=WorkerState.BUSY, pid=1, restarts=0, models=("tiny",), device=device)


def _totals(url: str) -> tuple[int, int]:
    """Transactions so far, and bytes of the write-ahead log."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_clear_snapshot()")
        row = connection.execute(
            "SELECT xact_commit, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint FROM pg_stat_database"
            " WHERE datname = current_database()"
        ).fetchone()
        assert row is not None
        return row[0], row[1]


def _analyse(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE")
