"""What large pictures cost others: a server that makes one after the other of 2048x2048 pixels, and is asked meanwhile.

The device is made up, as in `around_engine.py`; it takes two seconds for a picture, and those are photo-like, with a
sensor's noise, which takes Pillow longest. Each service writes them as it does: Danqing with its own PNG codec, beside
the device; the peers with Pillow. Two clients wait for one each, so that the device always has work; a third asks for a
task's status every 5 ms. Counted is how long that takes, and which share of its time the device works.
"""

import asyncio
import json
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from comparison import Findings, over_requests, over_rounds
from services import CORES, THREAD, THREAD_KEEPS, Device, Service, danqing, home, in_turn, missing_peers, peers
from wire import HttpClient

SIDE = 2048  # pixels
DEVICE = Device(delay_s=2.0, side=SIDE)  # no quicker than an H100 at 80 % of its peak with Z-Image-Turbo
WAITING = 2
PAUSE_S = 0.005
# How a task is begun and asked for.
TASKS = {"danqing": ("/api/generate", "/api/task/{}"), THREAD: ("/api/generate", "/api/task/{}")}


@dataclass
class Taken:
    """Of all rounds of a service."""

    asked_ms: list[float] = field(default_factory=list[float])
    device_share: list[float] = field(default_factory=list[float])
    cpu_ms: list[float] = field(default_factory=list[float])


def body(number: int) -> dict[str, object]:
    """Understood by all; no two are equal."""
    return {"prompt": f"large {number}", "seed": number, "size": f"{SIDE}x{SIDE}", "width": SIDE, "height": SIDE}


async def load(service: Service, taken: Taken) -> None:
    """A picture a client."""
    ended = asyncio.Event()
    if service.name in TASKS:
        begin, ask = TASKS[service.name]
        async with HttpClient(service.url) as client:
            answer = json.loads(await client.post(begin, body(0)))
            asking = asyncio.create_task(asked_ms(service, ask.format(answer["data"]["task_id"]), ended))
    else:
        asking = None

    async def waited_for(number: int) -> None:
        async with HttpClient(service.url) as client:
            await client.post(service.waits_at, body(number))

    await waited_for(1)  # to warm up
    busy_s, began = service.busy_s(), time.perf_counter()
    await asyncio.gather(*(waited_for(1000 + client) for client in range(WAITING)))
    took_s = time.perf_counter() - began
    ended.set()
    taken.device_share.append(WAITING * DEVICE.delay_s / took_s)
    taken.cpu_ms.append(1e3 * (service.busy_s() - busy_s) / WAITING)
    if asking is not None:
        taken.asked_ms += await asking


async def asked_ms(service: Service, path: str, ended: asyncio.Event) -> list[float]:
    """Milliseconds of each answer."""
    took: list[float] = []
    async with HttpClient(service.url) as client:
        while not ended.is_set():
            began = time.perf_counter()
            await client.get(path)
            took.append(1e3 * (time.perf_counter() - began))
            await asyncio.sleep(PAUSE_S)
    return took


def measure(quick: bool) -> dict[str, object]:
    """In turn."""
    ways = {"danqing": danqing} | {name: opens for name, opens in peers().items() if name != THREAD_KEEPS}
    taken = {name: Taken() for name in ways}
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    for number in range(1 if quick else 2):
        for name, opens in in_turn(ways, number):
            with tempfile.TemporaryDirectory(dir=home()) as folder, opens(Path(folder), DEVICE) as service:
                uvloop.run(load(service, taken[name]))
    return report(taken).as_dict()


def report(taken: dict[str, Taken]) -> Findings:
    """Danqing beside each peer."""
    found = Findings()
    own = taken.pop("danqing")
    found.figure("status asked for while large pictures are made", over_requests(own.asked_ms), "ms")
    for peer, its in taken.items():
        if its.asked_ms:
            ours, theirs = (over_requests(each.asked_ms, counts="p99") for each in (own, its))
            what = "status asked for while large pictures are made, slowest in a hundred"
            found.compare(what, ours, peer, theirs, "ms", better="less")
        share, cpu = "share of its time that the device works", "processor time of a large picture"
        found.compare(share, over_rounds(own.device_share), peer, over_rounds(its.device_share), "share", better="more")
        found.compare(cpu, over_rounds(own.cpu_ms), peer, over_rounds(its.cpu_ms), "ms", better="less")
    found.notes += [f"{name}: {why}" for name, why in missing_peers().items()]
    found.notes += [
        "LitServe has no status, and Celery's is Redis's: they are compared by what their device does.",
        "A status is asked for while each makes what it can: where the device waits for the encoder, that is less.",
    ]
    return found


if __name__ == "__main__":
    from report import told

    print("\n".join(told(measure(quick=False))))
