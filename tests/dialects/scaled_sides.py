"""Two API processes and a worker's side over real shared parts; see `sides.py`."""

import asyncio
import atexit
import functools
import secrets
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from danqing.blobs.s3 import S3ArtifactStore
from danqing.core.clock import utc_now
from danqing.core.picture_ports import ArtifactStore
from danqing.core.ports import WorkerPool
from danqing.core.shared_store import Node, worker_of_node
from danqing.core.tickets import LIFETIME_S, MAX_WAITING
from danqing.core.types import Job
from danqing.events.redis_bus import RedisEventBus
from danqing.redis_link import RedisLink
from danqing.shared.attendance import SharedAttendance
from danqing.shared.control import ControlHearing, ControlSending
from danqing.shared.neighbours import SharedNeighbours
from danqing.shared.remote_pool import RemotePool
from danqing.shared.tickets import SharedTickets
from danqing.store.postgres import PostgresStores
from danqing.store.postgres_address import postgres_address
from danqing.store.postgres_database import PostgresDatabase, Threads
from danqing.store.schema import code_compatibility, metadata
from danqing.store.shared_schema import shared_metadata
from tests.dialects.sides import Side
from tests.fakes.painter import Painter
from tests.services.postgres import running_postgres
from tests.services.redis import this_process_redis
from tests.services.s3 import S3Server, new_folder

APIS = 2
FEW = Threads(writing=2, lanes=2, reading=2)
LEASE_S = 60.0
BEAT_S = 0.05
NODE = "node"
DEADLINE_S = 60.0
TABLES = [*shared_metadata.sorted_tables, *reversed(metadata.sorted_tables)]
EMPTY = "; ".join(
    (
        *(f"DELETE FROM {table.name}" for table in TABLES if table is not code_compatibility),
        "ALTER SEQUENCE jobs_sequence_seq RESTART",
    )
)


class ScaledSides:
    """The database is made at once, connections to Redis when it is opened."""

    worker = worker_of_node(NODE, "painter")

    def __init__(self, root: Path) -> None:
        self._database = _Database()
        self._links = [RedisLink(this_process_redis().url) for _ in range(APIS + 1)]
        self._buses = [RedisEventBus(link, store=self._database.stores[n].jobs) for n, link in enumerate(self._links)]
        store, batches, subscriptions = (_OfTests(self._database, n) for n in ("jobs", "batches", "subscriptions"))
        self._pools: list[RemotePool] = []
        self._attendances = [SharedAttendance(link) for link in self._links]
        self._neighbours = [SharedNeighbours(link) for link in self._links]
        self.workers = self._side(APIS, store, batches, subscriptions)
        self.apis = tuple(
            self._side(n, _OfApi(store, n), _OfApi(batches, n), subscriptions if n == 0 else _OfApi(subscriptions, n))
            for n in range(APIS)
        )
        self.artifacts: ArtifactStore = S3ArtifactStore(_s3().place(root, prefix=secrets.token_hex(8)))
        self._opened = asyncio.Event()
        self._ending = asyncio.Event()
        self._life: asyncio.Task[None] | None = None

    def _side(self, number: int, store: object, batches: object, subscriptions: object) -> Side:
        return Side(
            store=store,
            batches=batches,
            subscriptions=subscriptions,
            kept=self._database.stores[number].kept,
            issued_keys=self._database.stores[number].issued_keys,
            events=_Bus(self._buses, number),
            pool=lambda _: self._pool(number),
            attendance=self._attendances[number],
            tickets=SharedTickets(self._links[number], lifetime_s=LIFETIME_S, most=MAX_WAITING),
            neighbours=self._neighbours[number],
        )

    def _pool(self, number: int) -> WorkerPool:
        sending = ControlSending(self._links[number])
        nodes = self._database.stores[number].nodes
        pool = RemotePool(nodes, stop_job=sending.stop_job, send_previews=sending.send_previews)
        self._pools.append(pool)
        return pool

    async def open(self, painter: Painter) -> None:
        """See `Sides`."""
        if self._life is None:
            self._life = asyncio.create_task(self._live(painter), name="sides")
        waiting = asyncio.create_task(self._opened.wait())
        await asyncio.wait((waiting, self._life), return_when=asyncio.FIRST_COMPLETED)
        if self._life.done():
            self._life.result()

    async def _live(self, painter: Painter) -> None:
        """What is entered in a task is left in it."""
        this_process_redis().flush()
        async with AsyncExitStack() as stack:
            for link in self._links:
                stack.push_async_callback(link.aclose)
            for bus in self._buses:
                await stack.enter_async_context(bus.at_work())
            for shared in (*self._attendances, *self._neighbours):
                await stack.enter_async_context(shared.at_work())
            await stack.enter_async_context(ControlHearing(self._links[APIS], painter).at_work())
            await stack.enter_async_context(self._beating(painter))
            self._opened.set()
            await self._ending.wait()

    @asynccontextmanager
    async def _beating(self, painter: Painter) -> AsyncIterator[None]:
        """The painter is a node's only worker."""
        told: object = None

        async def beat() -> None:
            nonlocal told
            workers = painter.status().workers
            if workers != told:
                node = Node(id=NODE, name=NODE, started_at=utc_now(), workers=workers)
                await self._database.stores[APIS].nodes.beat(node, lease_s=LEASE_S)
                for pool in self._pools:
                    await pool.look()
                told = workers

        async def go_on() -> None:
            while True:
                await asyncio.sleep(BEAT_S)
                await beat()

        await beat()
        beating = asyncio.create_task(go_on(), name="beating")
        try:
            yield
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating

    async def close(self) -> None:
        """See `Sides`."""
        if self._life is not None:
            self._ending.set()
            await self._life
        await asyncio.to_thread(self._database.close)


class _Database:
    """One of its own, with the stores that each side has of it, for which every side has connections of its own."""

    def __init__(self) -> None:
        try:
            self._kept = _kept.pop()
        except IndexError:
            self._kept = _KeptDatabase()
        self.stores = [PostgresStores.over(database) for database in self._kept.of_sides]

    def close(self) -> None:
        """Gives it to the next house, with nothing in it."""
        self._kept.empty()
        _kept.append(self._kept)


_kept: list["_KeptDatabase"] = []  # those that no house has just now


class _KeptDatabase:
    """What takes long to make, and remembers nothing of what is stored: a database, and connections to it."""

    def __init__(self) -> None:
        url = running_postgres().new_database()
        self.of_sides = [PostgresDatabase(postgres_address(url), threads=FEW) for _ in range(APIS + 1)]
        for database in self.of_sides:
            atexit.register(database.close)

    def empty(self) -> None:
        """Forgets every row, once nobody writes any more. Blocking."""
        for database in self.of_sides:
            _wait_for_writers(database)
        with self.of_sides[0].engine.begin() as connection:
            connection.exec_driver_sql(EMPTY)


def _wait_for_writers(database: PostgresDatabase) -> None:
    """Until all that was asked of it is done, also what nobody waits for any more: every thread that writes is met."""
    met = threading.Barrier(FEW.writing + FEW.lanes, timeout=DEADLINE_S)
    lanes = [*(None for _ in range(FEW.writing)), *(f"lane {n}" for n in range(FEW.lanes))]
    for answer in [database.submit(lambda _: met.wait(), durable=False, lane=lane) for lane in lanes]:
        answer.result()


class _OfTests:
    """What tests look into, and change: in effect on all sides. `__dict__` of another house's makes it that one's."""

    def __init__(self, database: _Database, name: str) -> None:
        self._database = database
        self._name = name

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the store has
        return self.of_side(APIS, name)

    def of_side(self, number: int, name: str) -> Any:  # noqa: ANN401
        """What a side finds under this name: what a test has put there, or its own store's."""
        if name in vars(self):
            return vars(self)[name]
        return getattr(getattr(self._database.stores[number], self._name), name)

    def matching(self, condition: Callable[[Job], bool]) -> list[Job]:
        """As the store in memory has it. Blocking."""
        stores = self._database.stores[APIS]

        def ids(connection: Any) -> list[str]:  # noqa: ANN401 - SQLAlchemy's
            return list(connection.exec_driver_sql("SELECT id FROM jobs ORDER BY sequence").scalars())

        async def read() -> list[Job]:
            return [await stores.jobs.get(job_id) for job_id in await stores.database.read(ids)]

        return [job for job in _in_a_loop_of_its_own(read) if condition(job)]


class _OfApi:
    """The store of one API process."""

    def __init__(self, of_tests: _OfTests, number: int) -> None:
        self._of_tests = of_tests
        self._number = number

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the store has
        return self._of_tests.of_side(self._number, name)


class _Bus:
    """The bus of one side; closed, those of all sides are."""

    def __init__(self, buses: list[RedisEventBus], number: int) -> None:
        self._buses = buses
        self._bus = buses[number]

    def close(self) -> None:
        """Ends every iterator."""
        for bus in self._buses:
            bus.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a bus has
        return getattr(self._bus, name)


def _in_a_loop_of_its_own(work: Callable[[], Any]) -> Any:  # noqa: ANN401 - the work's
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(work())).result()


def start_services() -> None:
    """See `sides.start_services`."""
    running_postgres()
    this_process_redis()
    _s3()


@functools.cache
def _s3() -> S3Server:
    """One for all tests of this process."""
    folder = new_folder()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # after the next: the last one is called first
    server = S3Server(folder)
    server.start()
    atexit.register(server.kill)
    return server
