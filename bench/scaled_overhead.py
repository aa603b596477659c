"""What a job costs on its way through Danqing over several machines, beside Danqing on one and beside bare Celery.

All in one run, in turn, on the same two cores: jobs whose engine takes no time, against Celery tasks that do nothing on
the same kind of broker (Redis), acknowledged late, one prefetched, threads. A Celery task leaves nothing behind; a job
of Danqing is a durable row, a PNG in its place and events to whoever watches.

per_job: milliseconds between two ends while a full queue is worked off by one worker. cpu: processor time of all
processes of that way for one job, from the submit on. answered: one client that waits for its picture (Celery: for its
result, over HTTP). device: jobs of 50 ms, so that the number of workers shows, and not that of this machine's cores.

`python bench/scaled_overhead.py [--rounds 3] [--jobs 400]`; needs `danqing[dev]`.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx2
import psutil
from served import answered, free_port, running
from services import CORES, UNLIMITED
from shared_parts import HERE, ROOT, Parts, shared_parts
from submits import CLIENTS, PATH, WARM_UP_S, load

DEADLINE_S = 300.0
DEVICE_S = 0.05
SUBMIT_S = 5.0
SUBMITTED_AT_ONCE = 50


class Way(Protocol):
    """One way to have jobs done, running, with so many workers that wait for `go`."""

    def fill(self, jobs: int) -> None:
        """Puts so many jobs into its queue."""
        ...

    def left(self) -> int:
        """How many of them have not ended."""
        ...

    def go(self) -> None:
        """Lets the workers begin."""
        ...

    def answered_ms(self) -> float:
        """One job, waited for."""
        ...


@dataclass
class DanqingWay:
    """urls: of its API processes. ids: of the jobs that were submitted."""

    folder: Path
    urls: Sequence[str]
    ids: list[str] = field(default_factory=list[str], init=False)
    _number: int = field(default=0, init=False)

    def fill(self, jobs: int) -> None:
        asyncio.run(self._fill(jobs))

    async def _fill(self, jobs: int) -> None:
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
            for begin in range(0, jobs, SUBMITTED_AT_ONCE):
                await asyncio.gather(
                    *(self._submit(client, number) for number in range(begin, min(jobs, begin + SUBMITTED_AT_ONCE)))
                )

    async def _submit(self, client: httpx2.AsyncClient, number: int) -> None:
        self._number += 1
        wanted = {"prompt": f"number {self._number}", "width": 64, "height": 64, "seed": self._number}
        answer = await client.post(f"{self.urls[number % len(self.urls)]}/api/generate", json=wanted)
        assert answer.status_code == 200, answer.text
        self.ids.append(answer.json()["data"]["task_id"])

    def left(self) -> int:
        queue = httpx2.get(f"{self.urls[0]}/api/status", trust_env=False).json()["data"]["queue"]
        return queue["pending_tasks"] + queue["processing_tasks"]

    def go(self) -> None:
        (self.folder / "go").touch()

    def answered_ms(self) -> float:
        self._number += 1
        wanted = {"prompt": f"number {self._number}", "size": "64x64"}
        began = time.perf_counter()
        answer = httpx2.post(f"{self.urls[0]}/v1/images/generations", json=wanted, trust_env=False, timeout=60)
        assert answer.status_code == 200, answer.text
        return 1000 * (time.perf_counter() - began)


@dataclass
class CeleryWay:
    """Bare Celery; work_s: None for tasks that do nothing. url: of its HTTP service."""

    folder: Path
    redis_url: str
    url: str
    workers: int
    work_s: float | None

    def __post_init__(self) -> None:
        os.environ["CELERY_NOOP_BROKER"] = self.redis_url
        sys.modules.pop("celery_noop", None)
        import celery_noop
        import redis

        self._tasks: Any = celery_noop
        self._redis = redis.Redis.from_url(self.redis_url)

    def fill(self, jobs: int) -> None:
        for _ in range(self.workers):
            self._tasks.held.delay(str(self.folder / "go"))
        for number in range(jobs):
            if self.work_s:
                self._tasks.slept.delay(self.work_s)
            else:
                self._tasks.noop.delay(f"00000000-0000-0000-0000-{number:012}")

    def left(self) -> int:
        return int(self._redis.llen("celery")) + int(self._redis.hlen("unacked"))

    def go(self) -> None:
        (self.folder / "go").touch()

    def answered_ms(self) -> float:
        began = time.perf_counter()
        answer = httpx2.post(f"{self.url}/answered", trust_env=False, timeout=60)
        assert answer.status_code == 200, answer.text
        return 1000 * (time.perf_counter() - began)


@contextmanager
def bare_celery(folder: Path, parts: Parts, *, workers: int, work_s: float) -> Generator[Way]:
    """Its workers and its service run."""
    redis, port = parts.redis_url, free_port()
    variables = {"CELERY_NOOP_BROKER": redis, "PYTHONPATH": str(HERE)}
    worker = ["celery", "-A", "celery_noop:celery", "worker", "-P", "threads", "-c", "1", "-l", "warning"]
    with ExitStack() as stack:
        for number in range(workers):
            command = [sys.executable, "-m", *worker, "-n", f"w{number}@bench"]
            stack.enter_context(running(command, folder, **variables))
        service = ["uvicorn", "celery_noop:app", "--port", str(port), "--no-access-log", "--log-level", "warning"]
        stack.enter_context(running([sys.executable, "-m", *service], folder, **variables))
        answered(f"http://127.0.0.1:{port}/openapi.json", lambda answer: answer.status_code == 200)
        way = CeleryWay(folder, redis, f"http://127.0.0.1:{port}", workers, work_s or None)
        way.answered_ms()
        yield way


def _settings(folder: Path, name: str) -> dict[str, str]:
    return {
        "DANQING_DATA_DIR": str(folder / name),
        "OUTPUT_DIR": str(folder / "outputs"),
        **UNLIMITED,
        "PYTHONPATH": os.pathsep.join((str(HERE), str(ROOT))),
    }


def _held(role: str, folder: Path, work_s: float) -> list[str]:
    return [sys.executable, str(HERE / "held_engine.py"), role, str(folder), str(work_s)]


def _ready(url: str, *, workers: int) -> None:
    def good(answer: httpx2.Response) -> bool:
        return answer.json()["concurrent_manager"]["alive_processes"] == workers

    answered(f"{url}/status", good)
    answered(f"{url}/readyz", lambda answer: answer.status_code == 200)


@contextmanager
def embedded(folder: Path, *, work_s: float) -> Generator[Way]:
    """`danqing serve` by itself: SQLite, the queue in the server, one worker."""
    port = free_port()
    settings = _settings(folder, "data") | {"DANQING_PORT": str(port)}
    with running(_held("serve", folder, work_s), folder, **settings):
        _ready(url := f"http://127.0.0.1:{port}", workers=1)
        yield DanqingWay(folder, [url])


@contextmanager
def scaled(folder: Path, parts: Parts, *, workers: int, work_s: float, apis: int = 1) -> Generator[Way]:
    """API processes and nodes over PostgreSQL, Redis and a shared directory."""
    with ExitStack() as stack:
        urls: list[str] = []
        for number in range(apis):
            port = free_port()
            settings = _settings(folder, f"api-{number}") | parts.variables | {"DANQING_PORT": str(port)}
            stack.enter_context(running(_held("serve", folder, work_s), folder, **settings))
            urls.append(f"http://127.0.0.1:{port}")
        for number in range(workers):
            settings = _settings(folder, f"node-{number}") | parts.variables | {"DANQING_NODE_NAME": f"node-{number}"}
            stack.enter_context(running(_held("worker", folder, work_s), folder, **settings))
        for url in urls:
            _ready(url, workers=workers)
        yield DanqingWay(folder, urls)


@dataclass(frozen=True)
class Figures:
    """Milliseconds."""

    per_job: float
    cpu: float
    answered: float


def measured(way: Way, jobs: int) -> Figures:
    """Fills the queue, lets it be worked off, and then asks for single jobs."""
    before, own = _busy(), time.process_time()
    way.fill(jobs)
    # Bare Celery has nobody else who publishes.
    publishing_s = time.process_time() - own if isinstance(way, CeleryWay) else 0.0
    began = time.perf_counter()
    way.go()
    emptied(way)
    took_s = time.perf_counter() - began
    cpu_s = _busy() - before + publishing_s
    single = [way.answered_ms() for _ in range(20)]
    return Figures(per_job=1000 * took_s / jobs, cpu=1000 * cpu_s / jobs, answered=statistics.median(single))


def emptied(way: Way) -> None:
    """Waits until all jobs have ended."""
    deadline = time.monotonic() + DEADLINE_S
    while way.left():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{way.left()} jobs were not made")
        time.sleep(0.03)


def _busy() -> float:
    """Seconds of processor time of everything that this process has started and that still runs."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def measure(quick: bool) -> dict[str, float | str]:
    """See `compared`."""
    return compared(1, 100) if quick else compared(3, 400)


def compared(rounds: int, jobs: int) -> dict[str, float | str]:
    """The median of the rounds, with their range, and ratios."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(cores)[:CORES]))  # the servers inherit it
    figures: dict[str, float | str] = {"rounds": rounds, "jobs": jobs, "cores": CORES}
    try:
        overhead = _measure_overhead(figures, rounds, jobs)
        _measure_workers(figures, rounds, jobs)
        _measure_submits(figures, rounds)
    finally:
        os.sched_setaffinity(0, cores)
    for what in ("per_job", "cpu", "answered"):
        mine = statistics.median(getattr(one, what) for one in overhead["scaled"])
        for other in ("embedded", "celery"):
            theirs = statistics.median(getattr(one, what) for one in overhead[other])
            figures[f"scaled_{what}_over_{other}"] = round(mine / theirs, 2)
    return figures


def _measure_overhead(figures: dict[str, float | str], rounds: int, jobs: int) -> dict[str, list[Figures]]:
    """No-op jobs, one worker each."""
    taken = _in_turn(
        rounds,
        {
            "celery": lambda: _one(lambda at, parts: bare_celery(at, parts, workers=1, work_s=0), jobs),
            "embedded": lambda: _one(lambda at, parts: embedded(at, work_s=0), jobs),
            "scaled": lambda: _one(lambda at, parts: scaled(at, parts, workers=1, work_s=0), jobs),
        },
    )
    for name, all_figures in taken.items():
        for what in ("per_job", "cpu", "answered"):
            figures[f"{name}_{what}_ms"] = _told([getattr(one, what) for one in all_figures])
    return taken


def _measure_workers(figures: dict[str, float | str], rounds: int, jobs: int) -> None:
    """Jobs a second of 1, 2 and 4 workers: of no time, and of 50 ms."""
    for label, work_s in (("noop", 0.0), ("device", DEVICE_S)):
        ways: dict[str, Callable[[], Any]] = {}
        for workers in (1, 2, 4):
            ways[f"scaled_{workers}"] = lambda workers=workers, work_s=work_s: _one(
                lambda at, parts: scaled(at, parts, workers=workers, work_s=work_s), jobs
            )
            ways[f"celery_{workers}"] = lambda workers=workers, work_s=work_s: _one(
                lambda at, parts: bare_celery(at, parts, workers=workers, work_s=work_s), jobs
            )
        for name, taken in _in_turn(rounds, ways).items():
            figures[f"{name}_workers_{label}_per_s"] = _told([1000 / one.per_job for one in taken], 0)


def _measure_submits(figures: dict[str, float | str], rounds: int) -> None:
    """Accepted submits a second, 64 clients: one server on SQLite; one and two API processes on PostgreSQL."""

    def rate(way: Callable[[Path, Parts], AbstractContextManager[Way]]) -> float:
        with tempfile.TemporaryDirectory() as name, shared_parts(Path(name)) as parts, way(Path(name), parts) as ready:
            assert isinstance(ready, DanqingWay)
            return asyncio.run(_submits(ready.urls))

    taken = _in_turn(
        rounds,
        {
            "embedded": lambda: rate(lambda at, _: embedded(at, work_s=0)),
            "scaled_1_api": lambda: rate(lambda at, parts: scaled(at, parts, workers=0, work_s=0)),
            "scaled_2_apis": lambda: rate(lambda at, parts: scaled(at, parts, workers=0, work_s=0, apis=2)),
        },
    )
    for name, rates in taken.items():
        figures[f"{name}_submits_per_s"] = _told(rates, 0)


async def _submits(urls: Sequence[str]) -> float:
    share = CLIENTS // len(urls)
    ports = [int(url.rpartition(":")[2]) for url in urls]
    began = time.perf_counter()
    loads = [load(port, PATH, SUBMIT_S, clients=share, first=share * n) for n, port in enumerate(ports)]
    answers = [at for told in await asyncio.gather(*loads) for at in told]
    begin = began + WARM_UP_S
    return sum(begin <= at < begin + SUBMIT_S for at in answers) / SUBMIT_S


def _one(way: Callable[[Path, Parts], AbstractContextManager[Way]], jobs: int) -> Figures:
    with (
        tempfile.TemporaryDirectory() as name,
        shared_parts(Path(name)) as parts,
        way(Path(name), parts) as running_way,
    ):
        return measured(running_way, jobs)


def _in_turn(rounds: int, ways: dict[str, Callable[[], Any]]) -> dict[str, list[Any]]:
    """Every second round goes the other way round, so that a machine that gets slower or faster favours nobody."""
    done: dict[str, list[Any]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in list(ways.items())[:: -1 if number % 2 else 1]:
            done[name].append(way())
    return done


def _told(values: Sequence[float], digits: int = 2) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=400)
    options = parser.parse_args()
    for key, value in compared(options.rounds, options.jobs).items():
        print(f"{key:<40} {value}")
