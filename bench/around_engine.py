"""What a service adds to the time of its device: picture in hand after submit, beside peers with the same device.

The device takes a fixed time for a picture and makes one at a time, in each service alike. Three loads:

alone: one client. What is above a direct call of the same device counts.
half busy: 32 clients, whose requests come at random so that the device has work half of the time, at the same moments
for each service. What is above counts from when a device that makes them in the order of their coming would be done.
full: 32 clients that each ask again at once. Their time counts above that of 32 direct calls one after the other; to
the peers it is compared whole, for what is above may be nothing: a direct call writes its PNG before the next begins.

And how long each takes from the start of its processes until it takes requests; of Danqing, until it could make one.
"""

import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from comparison import Findings, Goal, Spread, over_requests, over_rounds, percentile
from services import CORES, Device, Service, danqing, home, in_turn, missing_peers, peers
from wire import HttpClient

CLIENTS = 32
DELAY_S = 0.02
P50_GOAL_MS, P99_GOAL_MS = 10.0, 50.0
WARM_UP = 5


@dataclass
class Taken:
    """Of all rounds of a service: milliseconds above the device, of each request, and of those at full load whole; and
    by round what is told beside.
    """

    alone_ms: list[float] = field(default_factory=list[float])
    half_busy_ms: list[float] = field(default_factory=list[float])
    full_ms: list[float] = field(default_factory=list[float])
    full_whole_ms: list[float] = field(default_factory=list[float])
    device_share: list[float] = field(default_factory=list[float])
    cpu_ms: list[float] = field(default_factory=list[float])
    memory_mb: list[float] = field(default_factory=list[float])
    start_s: list[float] = field(default_factory=list[float])


def body(number: int) -> dict[str, object]:
    """Understood by all; no two are equal."""
    return {"prompt": f"picture {number}", "seed": number, "size": "64x64", "width": 64, "height": 64}


def direct_ms(calls: int, *, png: bool = True) -> float:
    """The call that every service makes, and the PNG, in this process."""
    from peers import device

    device.DELAY_S = DELAY_S
    took: list[float] = []
    for number in range(calls):
        began = time.perf_counter()
        picture = device.make(number)
        if png:
            device.png_of(picture)
        took.append(1e3 * (time.perf_counter() - began))
    return statistics.median(took)


async def alone(service: Service, requests: int) -> list[float]:
    """Milliseconds of each."""
    took: list[float] = []
    async with HttpClient(service.url) as client:
        for number in range(WARM_UP + requests):
            began = time.perf_counter()
            await client.post(service.waits_at, body(number))
            took.append(1e3 * (time.perf_counter() - began))
    return took[WARM_UP:]


async def half_busy(service: Service, requests: int, *, device_ms: float) -> list[float]:
    """Milliseconds that each was later than the best that a device of this pace could do."""
    draw = random.Random(8)
    gaps = [draw.expovariate(500 / device_ms) for _ in range(requests)]
    free = asyncio.Queue[HttpClient]()
    came: list[float] = [0.0] * requests
    ended: list[float] = [0.0] * requests

    async def one(number: int) -> None:
        came[number] = time.perf_counter()
        client = await free.get()
        await client.post(service.waits_at, body(10_000 + number))
        ended[number] = time.perf_counter()
        free.put_nowait(client)

    clients = [HttpClient(service.url) for _ in range(CLIENTS)]
    for client in clients:
        free.put_nowait(await client.__aenter__())
    running: list[asyncio.Task[None]] = []
    due = time.perf_counter()
    for number, gap in enumerate(gaps):
        due += gap
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        running.append(asyncio.create_task(one(number)))
    await asyncio.gather(*running)
    for client in clients:
        await client.__aexit__()
    return _late_ms(came, ended, device_ms)


def _late_ms(came: Sequence[float], ended: Sequence[float], device_ms: float) -> list[float]:
    late: list[float] = []
    done = 0.0
    for at, end in zip(came, ended, strict=True):
        done = max(at, done) + device_ms / 1e3
        late.append(1e3 * (end - done))
    return late


async def full(service: Service, requests: int) -> tuple[list[float], float]:
    """Milliseconds of each; and pictures a second."""
    took: list[float] = []
    ends: list[float] = []
    numbers = iter(range(20_000, 20_000 + requests))

    async def client() -> None:
        async with HttpClient(service.url) as connection:
            for number in numbers:
                began = time.perf_counter()
                await connection.post(service.waits_at, body(number))
                ends.append(time.perf_counter())
                took.append(1e3 * (ends[-1] - began))

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    # Without the first ones, which found no queue, and the last, which left none.
    inner = sorted(ends)[CLIENTS:-CLIENTS]
    return took[CLIENTS:], (len(inner) - 1) / (inner[-1] - inner[0])


def load(service: Service, taken: Taken, *, requests: int) -> None:
    """One round."""
    plain_ms = direct_ms(20)
    taken.alone_ms += [each - plain_ms for each in uvloop.run(alone(service, requests // 4))]
    taken.half_busy_ms += uvloop.run(half_busy(service, requests, device_ms=plain_ms))
    busy_s = service.busy_s()
    all_ms, per_s = uvloop.run(full(service, requests))
    taken.full_ms += [each - CLIENTS * plain_ms for each in all_ms]
    taken.full_whole_ms += all_ms
    taken.cpu_ms.append(1e3 * (service.busy_s() - busy_s) / requests)
    taken.device_share.append(per_s * direct_ms(20, png=False) / 1e3)
    taken.memory_mb.append(service.memory_mb())


def measure(quick: bool) -> dict[str, object]:
    """All services in turn."""
    rounds, requests = (1, 96) if quick else (3, 150)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(cores)[:CORES]))  # the servers inherit it
    ways = {"danqing": danqing, **peers()}
    taken = {name: Taken() for name in ways}
    try:
        for number in range(rounds):
            for name, opens in in_turn(ways, number):
                device, began = Device(delay_s=DELAY_S), time.perf_counter()
                with tempfile.TemporaryDirectory(dir=home()) as folder, opens(Path(folder), device) as service:
                    taken[name].start_s.append(time.perf_counter() - began)
                    load(service, taken[name], requests=requests)
    finally:
        os.sched_setaffinity(0, cores)
    return report(taken).as_dict()


def report(taken: dict[str, Taken]) -> Findings:
    """Danqing beside each peer."""
    found = Findings(notes=[f"{name} was not measured: {why}" for name, why in missing_peers().items()])
    found.notes.append(
        "Each service is asked where it answers with the picture itself. The documents of the peers have no such "
        "request; with FastAPI + thread it waits for an event, with Celery for the result, in one of FastAPI's 40 "
        "threads. Memory is that of the processes that listen; of what several share each has its part."
    )
    own = taken["danqing"]
    p50, p99 = Goal(bound=P50_GOAL_MS, kind="at most"), Goal(bound=P99_GOAL_MS, kind="at most")
    half, whole = over_requests(own.half_busy_ms), over_requests(own.full_ms)
    found.figure("above the direct call, one client", over_requests(own.alone_ms), "ms", goal=p50)
    found.figure("above the direct call, 32 clients, device half busy: p50", half, "ms", goal=p50)
    tail = Spread(value=percentile(own.half_busy_ms, 99), parts=half.parts)
    found.figure("above the direct call, 32 clients, device half busy: p99", tail, "ms", goal=p99)
    found.figure("above 32 direct calls, 32 clients, device always wanted: p50", whole, "ms", goal=p50)
    whole_tail = Spread(value=percentile(own.full_ms, 99), parts=whole.parts)
    found.figure("above 32 direct calls, 32 clients, device always wanted: p99", whole_tail, "ms", goal=p99)
    found.figure("share of its time that the device works, 32 clients", over_rounds(own.device_share), "")
    for name, theirs in taken.items():
        if name == "danqing":
            continue
        pairs = (
            ("above the direct call, one client", "alone_ms"),
            ("above the direct call, 32 clients, device half busy", "half_busy_ms"),
            ("a picture for each of 32 clients, device always wanted", "full_whole_ms"),
        )
        for what, of in pairs:
            mine, other = over_requests(getattr(own, of)), over_requests(getattr(theirs, of))
            found.compare(what, mine, name, other, "ms", better="less")
        for what, of, unit, better in (
            ("share of its time that the device works", "device_share", "", "more"),
            ("processor time of a picture", "cpu_ms", "ms", "less"),
            ("memory of the process that answers HTTP", "memory_mb", "MB", "less"),
            ("process start until it takes requests", "start_s", "s", "less"),
        ):
            mine, other = over_rounds(getattr(own, of)), over_rounds(getattr(theirs, of))
            found.compare(what, mine, name, other, unit, better=better)
    return found


if __name__ == "__main__":
    from report import told

    print("\n".join(told(measure(quick=False))))
