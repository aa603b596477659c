"""How the cost of a call grows with what there is: `python bench/growth.py`; `--quick` takes less than a minute, the
whole (`make bench ARGS=growth_whole`) a quarter of an hour.

Jobs that have ended, jobs that wait, watchers, and the size of pictures; on SQLite, and on PostgreSQL, started by this
script. Calls go through the real stores; of each kind the quickest of some is told, for on a busy machine the others
tell of the machine. What the server does in the background (`store/history_index.py`) is done before a history is
looked at. The exponent is that of n in the cost over the upper half of the sizes: 1 where ten times as much
takes ten times as long, 0 where it takes as long. A logarithm looks like 0.1 and less.
"""

import argparse
import asyncio
import contextlib
import itertools
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from growth_rows import (
    COMMON,
    ENDED,
    HISTORY_OWNERS,
    NONE,
    RARE,
    RARE_PIECE,
    WAITS,
    Filler,
    PostgresFiller,
    SqliteFiller,
)
from report import exponent

from danqing.blobs.local import LocalArtifactStore
from danqing.core.batches import BatchFilter
from danqing.core.clock import utc_now
from danqing.core.events import StateChanged
from danqing.core.types import Job
from danqing.events.in_process import InProcessEventBus
from danqing.queue.embedded import EmbeddedQueue
from danqing.store.history_index import HistoryIndex
from danqing.store.history_parts import LEAF
from danqing.store.postgres import PostgresStores
from danqing.store.settled import SettledAlone
from danqing.store.sqlite import SqliteStores
from tests.fakes.domain import NO_LIMIT, a_job, an_original
from tests.services.postgres import running_postgres

Stores = SqliteStores | PostgresStores
Call = Callable[[int], Awaitable[object]]
Costs = dict[str, dict[str, float]]  # microseconds, by the operation and what there is

QUICK_SIZES = [10, 100, 1_000, 10_000]
HISTORY_SIZES = [*QUICK_SIZES, 100_000, 1_000_000]
QUEUE_SIZES = [*QUICK_SIZES, 100_000]
WATCHERS = [1, 10, 100, 1_000, 10_000]
SIDES = [64, 256, 1024, 4096]  # of square pictures, in pixels
SOME = 1_000  # ended jobs beside those that wait
CALLS, AT_LEAST, BUDGET_S = 40, 5, 0.3  # so many calls of each kind, or as many as fit into the time
LIMIT_OF_OWNER = 500_000
PAGE = 20
OWNER = "owner-3"


async def timed(call: Call, *, calls: int = CALLS) -> float:
    """Microseconds, the quickest."""
    took: list[float] = []
    ends = time.perf_counter() + BUDGET_S
    for number in range(calls):
        began = time.perf_counter()
        await call(number)
        took.append(time.perf_counter() - began)
        if number + 1 >= AT_LEAST and time.perf_counter() > ends:
            break
    return min(took) * 1e6


@dataclass
class Desk:
    """Does to the stores what the server does. Jobs that it adds are made one after the other."""

    stores: Stores
    filler: Filler

    def __post_init__(self) -> None:
        self._new: list[Job] = []
        self._claimed: list[Job] = []
        self._numbers = itertools.count()

    async def submit(self, _: int) -> None:
        number = next(self._numbers)
        job = replace(a_job(owner=f"owner-{number % HISTORY_OWNERS}"), created_at=utc_now())
        self._new.append(await self.stores.jobs.add(job, NO_LIMIT, max_of_owner=LIMIT_OF_OWNER))

    async def claim(self, number: int) -> None:
        """The next of all on PostgreSQL, where the store says which that is; a certain one on SQLite."""
        now = utc_now()
        if isinstance(self.stores, PostgresStores):
            job = await self.stores.line.claim("tiny", "n/cpu", now)
        else:
            job = await self.stores.jobs.claim(self._new[number].id, "cpu", now)
        assert job is not None
        self._claimed.append(job)

    async def complete(self, number: int) -> None:
        job = self._claimed[number]
        await self.stores.jobs.complete(job.id, 1, [an_original(job)], [], utc_now())

    async def cycle(self) -> dict[str, float]:
        """Jobs on all of their way, and what each part of it costs."""
        costs = {"submit": await timed(self.submit)}
        costs["claim of the next job"] = await timed(self.claim, calls=len(self._new))
        costs["completion"] = await timed(self.complete, calls=len(self._claimed))
        return costs

    async def clear(self) -> None:
        """What it has added and not claimed waits no more."""
        for job in self._new:
            await self.stores.jobs.cancel(job.id, utc_now())


async def history_costs(desk: Desk, rows: int) -> dict[str, float]:
    """Of calls that meet so many jobs that have ended."""
    stores, ids = desk.stores, desk.filler.ids(ENDED, CALLS)
    jobs = [await stores.jobs.get(job_id) for job_id in ids]
    of_all, of_owner = rows // 2, rows // HISTORY_OWNERS // 2

    def job(number: int) -> Job:
        return jobs[number % len(jobs)]

    def page(owner: str | None, offset: int, wanted: BatchFilter, _: int) -> Awaitable[object]:
        return stores.batches.batches(owner, limit=PAGE, offset=offset, wanted=wanted)

    calls: dict[str, Call] = {
        "status of a job": lambda number: stores.jobs.get(job(number).id),
        "look for an equal job": lambda number: stores.jobs.find_equal(job(number).owner, job(number).fingerprint),
        "counts": lambda _: stores.jobs.counts(),
        "history of one, first page": partial(page, OWNER, 0, BatchFilter()),
        "history of all, first page": partial(page, None, 0, BatchFilter()),
        "history of one, page in the middle": partial(page, OWNER, of_owner, BatchFilter()),
        "history of all, page in the middle": partial(page, None, of_all, BatchFilter()),
        "history of one, last page": partial(page, OWNER, max(0, rows // HISTORY_OWNERS - PAGE), BatchFilter()),
        "history of all, last page": partial(page, None, max(0, rows - PAGE), BatchFilter()),
        "search, a word that is in all": partial(page, None, 0, BatchFilter(words=(COMMON,))),
        "search, a word that is in few": partial(page, None, 0, BatchFilter(words=(RARE,))),
        "search, two Chinese letters that are in few": partial(page, None, 0, BatchFilter(words=(RARE_PIECE,))),
        "search, a word that is in none": partial(page, None, 0, BatchFilter(words=(NONE,))),
        "search of one, a word that is in none": partial(page, OWNER, 0, BatchFilter(words=(NONE,))),
        "search, a model of none": partial(page, None, 0, BatchFilter(model=NONE)),
        "subscriptions of a client": lambda n: stores.subscriptions.jobs(OWNER, f"client-{n}", ended=PAGE),
        "subscription": lambda n: stores.subscriptions.add(OWNER, "new", job(n).id),
        "bytes kept of one": lambda _: stores.kept.artifact_bytes(OWNER),
        "removal of a job": lambda number: stores.kept.remove([job(number).id]),
    }
    return await desk.cycle() | {name: await timed(call) for name, call in calls.items()}


async def queue_costs(desk: Desk, waiting: int) -> dict[str, float]:
    """Of calls that meet so many jobs that wait."""
    stores = desk.stores
    jobs = sorted([await stores.jobs.get(job_id) for job_id in desk.filler.ids(WAITS, 200)], key=lambda job: job.turn)
    costs = {
        "position of a job in front": await timed(lambda _: stores.jobs.waiting_before(jobs[0])),
        "position of a job in the middle": await timed(lambda _: stores.jobs.waiting_before(jobs[len(jobs) // 2])),
        "position of a job at the end": await timed(lambda _: stores.jobs.waiting_before(jobs[-1])),
        "counts": await timed(lambda _: stores.jobs.counts()),
        "counts of unfinished jobs": await timed(lambda _: stores.jobs.unfinished_counts()),
    }
    if isinstance(stores, PostgresStores):
        line = stores.line
        costs["waiting jobs by model"] = await timed(lambda _: line.waiting())
        costs["jobs alike"] = await timed(lambda _: line.alike(jobs[0], 3, max_running_of_owner=4))
    else:
        costs |= await in_memory(waiting)
    costs |= await desk.cycle()
    await desk.clear()
    return costs


async def in_memory(waiting: int) -> dict[str, float]:
    """The queue of a server that is alone."""
    queue, job = EmbeddedQueue(), a_job()
    for number in range(waiting):
        await queue.publish(replace(job, id=str(number), owner=f"owner-{number % 100}", turn=number, sequence=number))

    async def there_and_back(number: int) -> None:
        await queue.publish(replace(job, id=f"new-{number}", turn=waiting // 2))
        queue.done(await queue.take(("tiny",)))

    return {"published and taken, in memory": await timed(there_and_back)}


async def indexed(stores: Stores, new: int) -> dict[str, float]:
    """What the server does in the background after so many jobs: microseconds a job, of those that are enough."""
    index = HistoryIndex(stores.database, settled=SettledAlone(stores.database), rest=0.0)
    began = time.perf_counter()
    await index.catch_up()
    return {"indexing of a job, in the background": (time.perf_counter() - began) * 1e6 / new} if new > LEAF else {}


async def grown(
    desk: Desk, kind: str, sizes: Sequence[int], costs_of: Callable[[Desk, int], Awaitable[dict[str, float]]]
) -> Costs:
    """The costs at each size; rows come to those that are there."""
    found: Costs = {}
    there = 0
    for size in sizes:
        await asyncio.to_thread(desk.filler.add, kind, size - there)
        before, there = there, size
        costs = await indexed(desk.stores, size - before) if kind == ENDED else {}
        costs |= await costs_of(Desk(desk.stores, desk.filler), size)
        for name, micros in costs.items():
            found.setdefault(name, {})[str(size)] = round(micros, 1)
    return found


async def store_costs(
    open_stores: Callable[[], tuple[Stores, Filler]], history: Sequence[int], queue: Sequence[int]
) -> Costs:
    """Of one database: what is named alike differs by what grows."""
    costs: Costs = {}
    for kind, sizes, costs_of, what in (
        (ENDED, history, history_costs, "ended jobs"),
        (WAITS, queue, queue_costs, "waiting jobs"),
    ):
        stores, filler = await asyncio.to_thread(open_stores)
        if kind == WAITS:
            await asyncio.to_thread(filler.add, ENDED, SOME)
        found = await grown(Desk(stores, filler), kind, sizes, costs_of)
        await stores.close()
        costs |= {f"{name} ({what})": micros for name, micros in found.items()}
    return costs


async def watcher_costs(counts: Sequence[int]) -> Costs:
    """Of one event, with so many who watch other jobs, or this one."""
    costs: Costs = {}
    for count in counts:
        for name, watched in (("an event (watchers of other jobs)", "other-{}"), ("an event (watchers of it)", "it")):
            bus = InProcessEventBus()
            event = StateChanged(job=a_job(id="it"))

            async def tell(_: int, bus: InProcessEventBus = bus, event: StateChanged = event) -> None:
                bus.publish(event)

            async with contextlib.AsyncExitStack() as stack:
                for number in range(count):
                    await stack.enter_async_context(bus.watch(watched.format(number)))
                costs.setdefault(name, {})[str(count)] = round(await timed(tell), 1)
            bus.close()
    return costs


async def picture_costs(folder: Path, sides: Sequence[int]) -> Costs:
    """Of the bytes of a picture, by its pixels: about as many as a PNG of noise has that one, at most three each."""
    costs: Costs = {}
    store = LocalArtifactStore(folder)
    for side in sides:
        content = bytes(side * side)

        async def keep(number: int, content: bytes = content) -> None:
            await asyncio.to_thread(store.write, f"{number}.png", content)

        async def fetch(number: int) -> None:
            picture = await store.open("0.png")
            with contextlib.closing(picture):
                while await picture.read():
                    pass

        for name, call in (("picture stored (pixels)", keep), ("picture read (pixels)", fetch)):
            costs.setdefault(name, {})[str(side * side)] = round(await timed(call), 1)
    return costs


def measure(quick: bool) -> dict[str, Costs]:
    """By database (`sqlite`, `postgresql`; `process` for what needs none): operation, size, microseconds."""
    history, queue = (QUICK_SIZES, QUICK_SIZES) if quick else (HISTORY_SIZES, QUEUE_SIZES)
    found: dict[str, Costs] = {}
    with tempfile.TemporaryDirectory() as folder:
        names = (Path(folder) / f"{number}.sqlite" for number in itertools.count())
        found["sqlite"] = asyncio.run(store_costs(lambda: _open_sqlite(next(names)), history, queue))
        with _postgres_databases() as urls:
            found["postgresql"] = asyncio.run(store_costs(lambda: _open_postgres(next(urls)), history, queue))
        pictures = asyncio.run(picture_costs(Path(folder), SIDES[:3] if quick else SIDES))
        found["process"] = asyncio.run(watcher_costs(WATCHERS[:4] if quick else WATCHERS)) | pictures
    return found


def _open_sqlite(path: Path) -> tuple[SqliteStores, Filler]:
    return SqliteStores.open(path), SqliteFiller(path)


def _open_postgres(url: str) -> tuple[PostgresStores, Filler]:
    return PostgresStores.open(url), PostgresFiller(url)


@contextlib.contextmanager
def _postgres_databases() -> Iterator[Iterator[str]]:
    server, made = running_postgres(), list[str]()

    def new() -> Iterator[str]:
        while True:
            made.append(server.new_database())
            yield made[-1]

    try:
        yield new()
    finally:
        for url in made:
            server.drop_database(url)


def main() -> None:
    """Prints a table for each database."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help=f"up to {QUICK_SIZES[-1]:,} rows")
    for database, costs in measure(options.parse_args().quick).items():
        print(f"\n{database}: microseconds a call, and the exponent of growth")
        sizes = sorted({int(size) for micros in costs.values() for size in micros})
        print(f"{'':52}" + "".join(f"{size:>11,}" for size in sizes) + f"{'exponent':>10}")
        for name, micros in costs.items():
            cells = "".join(f"{micros[str(size)]:11,.0f}" if str(size) in micros else f"{'':11}" for size in sizes)
            print(f"{name:52}{cells}{exponent(micros):10.2f}")


if __name__ == "__main__":
    main()
