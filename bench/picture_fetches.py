"""Pictures fetched a second over HTTP, by sixteen clients that ask again at once, beside the peers' file answers.

Small ones (a preview of 100 kB) and whole ones (1.5 MB, 1024x1024). The files are of chance bytes, put in the place of
a made picture; all lie on the same disk and have been read before.
"""

import asyncio
import json
import os
import tempfile
import time
from pathlib import Path
from random import Random

import uvloop
from comparison import Findings, over_rounds
from services import (
    CORES,
    Device,
    Opens,
    Service,
    danqing,
    fastapi_celery,
    fastapi_thread,
    home,
    in_turn,
    missing_peers,
)
from wire import HttpClient

CLIENTS = 16
SIZES = {"100 kB": 100_000, "1.5 MB": 1_500_000}
WARM_UP_S = 0.5
POLL_S = 0.05
DEVICE = Device(delay_s=0.0)


async def made(service: Service) -> tuple[str, str]:
    """Where a made picture is fetched, and the name of its file."""
    wanted = {"prompt": "a cat", "width": 64, "height": 64, "seed": 1}
    async with HttpClient(service.url) as client:
        if service.name == "FastAPI + Celery + Redis":
            path = json.loads(await client.post("/v1/images/generate", wanted))["status_url"]
            name = ""
            while not name:
                await asyncio.sleep(POLL_S)
                found = json.loads(await client.get(path))
                name = found["result"]["relative_path"] if found["status"] == "SUCCESS" else ""
            return f"/generated-images/{name}", name
        task_id = json.loads(await client.post("/api/generate", wanted))["data"]["task_id"]
        status = ""
        while status != "completed":
            await asyncio.sleep(POLL_S)
            status = json.loads(await client.get(f"/api/task/{task_id}"))["data"]["status"]
        return f"/api/result/{task_id}", f"{task_id}.png"


async def fetched(service: Service, path: str, size: int, seconds: float) -> float:
    """A second."""
    ends = list[float]()
    begin = time.perf_counter() + WARM_UP_S
    until = begin + seconds

    async def client() -> None:
        async with HttpClient(service.url) as connection:
            while time.perf_counter() < until:
                if len(await connection.get(path)) != size:
                    raise RuntimeError(f"{service.name} sent no whole picture")
                ends.append(time.perf_counter())

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return sum(begin <= at < until for at in ends) / seconds


def one_round(opens: Opens, seconds: float, rates: dict[str, list[float]], costs: dict[str, list[float]]) -> None:
    """A fresh service, each size."""
    with tempfile.TemporaryDirectory(dir=home()) as folder, opens(Path(folder), DEVICE) as service:
        path, name = uvloop.run(made(service))
        (file,) = Path(folder).rglob(name)
        for label, size in SIZES.items():
            file.write_bytes(Random(1).randbytes(size))
            busy_s = service.busy_s()
            rate = uvloop.run(fetched(service, path, size, seconds))
            rates[label].append(rate)
            costs[label].append(1e3 * (service.busy_s() - busy_s) / (rate * (seconds + WARM_UP_S)))


def measure(quick: bool) -> dict[str, object]:
    """In turn."""
    rounds, seconds = (1, 1.0) if quick else (2, 2.0)
    ways: dict[str, Opens] = {"danqing": danqing, "FastAPI + thread": fastapi_thread}
    if "FastAPI + Celery + Redis" not in missing_peers():
        ways["FastAPI + Celery + Redis"] = fastapi_celery
    rates = {name: {label: list[float]() for label in SIZES} for name in ways}
    costs = {name: {label: list[float]() for label in SIZES} for name in ways}
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(cores)[:CORES]))  # the servers inherit it
    try:
        for number in range(rounds):
            for name, opens in in_turn(ways, number):
                one_round(opens, seconds, rates[name], costs[name])
    finally:
        os.sched_setaffinity(0, cores)
    found = Findings(notes=["LitServe keeps no pictures."])
    for name in list(ways)[1:]:
        for label in SIZES:
            own, theirs = (over_rounds(rates[each][label]) for each in ("danqing", name))
            found.compare(f"pictures of {label} fetched", own, name, theirs, "pictures/s", better="more")
            own, theirs = (over_rounds(costs[each][label]) for each in ("danqing", name))
            found.compare(f"processor time of a picture of {label}", own, name, theirs, "ms", better="less")
    return found.as_dict()


if __name__ == "__main__":
    from report import told

    print("\n".join(told(measure(quick=False))))
