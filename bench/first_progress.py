"""From submit to the first step heard of, with one client and a free device, above the time of the step itself.

Over a WebSocket, which Danqing's live dialect and the FastAPI + thread server (seed 001) have; of FastAPI + Celery +
Redis by asking every 2 ms. LitServe tells nothing before the end.
"""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from comparison import Findings, over_requests
from services import CORES, THREAD, THREAD_KEEPS, Device, Opens, Service, danqing, home, in_turn, missing_peers, peers
from wire import HttpClient, WebSocketClient

DEVICE = Device(delay_s=0.04)
STEP_MS = 1e3 * DEVICE.delay_s / DEVICE.steps
POLL_S = 0.002
WARM_UP = 3


async def by_websocket(service: Service, rounds: int) -> list[float]:
    """Milliseconds."""
    took: list[float] = []
    async with WebSocketClient(service.url, "/api/ws") as socket:
        for number in range(WARM_UP + rounds):
            params = {"prompt": f"picture {number}", "width": 64, "height": 64, "steps": 4, "seed": number}
            began = time.perf_counter()
            socket.send({"type": "create_job", "task_type": "text_to_image", "request_id": "r", "params": params})
            while (await socket.receive_json())["type"] != "job_progress":
                pass
            took.append(1e3 * (time.perf_counter() - began))
            while (await socket.receive_json()).get("status") != "completed":
                pass
    return took[WARM_UP:]


async def by_asking(service: Service, rounds: int) -> list[float]:
    """Milliseconds."""
    took: list[float] = []
    async with HttpClient(service.url) as client:
        for number in range(WARM_UP + rounds):
            began = time.perf_counter()
            answer = await client.post("/v1/images/generate", {"prompt": f"picture {number}", "seed": number})
            path = json.loads(answer)["status_url"]
            status = "PENDING"
            while status == "PENDING":
                await asyncio.sleep(POLL_S)
                status = json.loads(await client.get(path))["status"]
            took.append(1e3 * (time.perf_counter() - began))
            while status != "SUCCESS":
                await asyncio.sleep(POLL_S)
                status = json.loads(await client.get(path))["status"]
    return took[WARM_UP:]


def measure(quick: bool) -> dict[str, object]:
    """In turn."""
    rounds, each = (1, 10) if quick else (2, 30)
    hears: dict[str, Callable[[Service, int], Awaitable[list[float]]]] = {
        "danqing": by_websocket,
        THREAD: by_websocket,
        THREAD_KEEPS: by_websocket,
        "FastAPI + Celery + Redis": by_asking,
    }
    ways: dict[str, Opens] = {name: opens for name, opens in ({"danqing": danqing} | peers()).items() if name in hears}
    above: dict[str, list[float]] = {name: [] for name in ways}
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(cores)[:CORES]))  # the servers inherit it
    try:
        for number in range(rounds):
            for name, opens in in_turn(ways, number):
                with tempfile.TemporaryDirectory(dir=home()) as folder, opens(Path(folder), DEVICE) as service:
                    above[name] += [took - STEP_MS for took in uvloop.run(_as_coroutine(hears[name], service, each))]
    finally:
        os.sched_setaffinity(0, cores)
    missing = [f"{name} was not measured: {why}" for name, why in missing_peers().items() if name in hears]
    found = Findings(
        notes=[
            *missing,
            "LitServe tells nothing before the end. Celery's state is asked for every 2 ms, for it tells nobody; the "
            "others are heard over a WebSocket.",
        ]
    )
    own = over_requests(above.pop("danqing"))
    found.figure("submit to first progress, above the step", own, "ms")
    for name, values in above.items():
        found.compare("submit to first progress, above the step", own, name, over_requests(values), "ms", better="less")
    return found.as_dict()


async def _as_coroutine(
    hear: Callable[[Service, int], Awaitable[list[float]]], service: Service, rounds: int
) -> list[float]:
    return await hear(service, rounds)


if __name__ == "__main__":
    from report import told

    print("\n".join(told(measure(quick=False))))
