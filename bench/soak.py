"""Many jobs, one after the other, through a whole server with an engine that takes no time: does anything grow?

Each job is submitted, asked for until it has ended, and its picture fetched. Memory, open files and threads of the
server and of its worker are noted on the way; what there is after the first tenth is what the rest is compared with.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
from served import answered, child, free_port, running

CLIENTS = 8
POLL_S = 0.02
MOST_S = 60  # for one job
NOTES = 10
SIDE = 64
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Note:
    """Of one process, after so many jobs. files: without the connections of clients, which come and go."""

    jobs: int
    memory_mb: float
    files: int
    threads: int


def note(process: psutil.Process, jobs: int) -> Note:
    """As of now."""
    open_before = -1
    while (connections := len(process.net_connections("tcp"))) != open_before:  # else some went while they were counted
        open_before, files = connections, process.num_fds() - connections
        time.sleep(0.01)
    with process.oneshot():
        return Note(jobs, process.memory_info().rss / 1e6, files, process.num_threads())


async def one_job(client: httpx2.AsyncClient, number: int) -> None:
    """From submit to picture."""
    body = {"prompt": f"picture {number}", "width": SIDE, "height": SIDE, "seed": number}
    task_id = (await client.post("/api/generate", json=body)).json()["data"]["task_id"]
    until = time.monotonic() + MOST_S
    while (status := (await client.get(f"/api/task/{task_id}")).json()["data"]["status"]) != "completed":
        if status in ("failed", "cancelled"):
            raise RuntimeError(f"job {number} {status}")
        if time.monotonic() > until:
            workers = (await client.get("/status")).text
            raise RuntimeError(f"job {number} is still {status} after {MOST_S} s; the server says {workers}")
        await asyncio.sleep(POLL_S)
    picture = await client.get(f"/api/result/{task_id}")
    if not picture.content.startswith(b"\x89PNG"):
        raise RuntimeError(f"job {number} has no picture")


async def jobs_in_turn(url: str, first: int, last: int) -> None:
    """Those of these numbers, a few at a time."""
    numbers = iter(range(first, last))
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:

        async def ask() -> None:
            for number in numbers:
                await one_job(client, number)

        await asyncio.gather(*(ask() for _ in range(CLIENTS)))


def growth(notes: Sequence[Note]) -> Note:
    """From the first tenth to the end, over the jobs between."""
    first, last = notes[0], notes[-1]
    memory_mb, files, threads = (
        last.memory_mb - first.memory_mb,
        last.files - first.files,
        last.threads - first.threads,
    )
    return Note(last.jobs - first.jobs, memory_mb, files, threads)


def soak(jobs: int, home: Path, *, say: Callable[[str], None] = lambda line: None) -> dict[str, list[Note]]:
    """Notes of the server and of its worker, at each tenth of the jobs. home: a folder for the data dir."""
    port = free_port()
    settings = {
        "DANQING_PORT": str(port),
        "DANQING_DATA_DIR": str(home / "data"),
        "DANQING_LOG_LEVEL": "warning",
        "CUDA_AVAILABLE": "false",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
    }
    url, noted = f"http://127.0.0.1:{port}", dict[str, list[Note]]()
    with running([sys.executable, str(HERE / "fake_server.py")], home, **settings) as server:
        answered(f"{url}/readyz", lambda answer: answer.status_code == 200)
        both = {"server": server, "worker": child(server, "spawn_main")}
        for tenth in range(NOTES):
            asyncio.run(jobs_in_turn(url, jobs * tenth // NOTES, jobs * (tenth + 1) // NOTES))
            for name, process in both.items():
                noted.setdefault(name, []).append(note(process, jobs * (tenth + 1) // NOTES))
                say(f"{name} {noted[name][-1]}")
    return noted


def measure(quick: bool) -> dict[str, float | str]:
    """See `grown`."""
    return grown(500 if quick else 10_000)


def grown(jobs: int) -> dict[str, float | str]:
    """What the processes hold after the first tenth and at the end, and the growth a thousand jobs."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as home:
        noted = soak(jobs, Path(home), say=lambda line: print(line, file=sys.stderr))
    figures: dict[str, float | str] = {"jobs": jobs, "seconds": round(time.perf_counter() - started)}
    for name, notes in noted.items():
        more = growth(notes)
        figures[f"{name}_memory_mb"] = " ".join(f"{each.memory_mb:.1f}" for each in notes)
        figures[f"{name}_memory_mb_a_thousand_jobs"] = round(1000 * more.memory_mb / more.jobs, 2)
        figures[f"{name}_open_files"] = f"{notes[0].files} to {notes[-1].files}"
        figures[f"{name}_threads"] = f"{notes[0].threads} to {notes[-1].threads}"
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    for key, value in grown(parser.parse_args().jobs).items():
        print(f"{key:<40} {value}")
