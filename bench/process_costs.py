"""What a job costs the processes of Danqing themselves, over several machines: an API process, a node, its engine.

For `capacity.py`. Processor time of each kind of process, while jobs that take a device no time go all the way.
"""

import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
from scaled_overhead import DanqingWay, emptied, scaled
from shared_parts import shared_parts

KINDS = {
    "postgres": "postgres",
    "redis-server": "redis",
    "held_engine.py serve": "api",
    "held_engine.py worker": "node",
    "spawn_main": "engine",
}
SIDE = 64


@dataclass(frozen=True, kw_only=True)
class ProcessCosts:
    """Milliseconds of processor time. submit, poll, picture: of an API process, for one. make: of a node and of its
    engine's process beside the engine itself, for one job.
    """

    submit: float
    poll: float
    picture: float
    make_node: float
    make_engine: float
    api_while_made: float


def measure_processes(jobs: int) -> ProcessCosts:
    """One API process, one node."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        parts = stack.enter_context(shared_parts(folder))
        way = stack.enter_context(scaled(folder, parts, workers=1, work_s=0))
        assert isinstance(way, DanqingWay)
        submitting = _spent(lambda: way.fill(jobs))
        making = _spent(lambda: (way.go(), emptied(way)))
        polling = _spent(lambda: _get(way.urls[0], [f"/api/task/{job_id}" for job_id in way.ids]))
        fetching = _spent(lambda: _get(way.urls[0], [f"/api/result/{job_id}" for job_id in way.ids]))
    each = 1000 / jobs
    return ProcessCosts(
        submit=each * submitting["api"],
        poll=each * polling["api"],
        picture=each * fetching["api"],
        make_node=each * making["node"],
        make_engine=each * making["engine"],
        api_while_made=each * making["api"],
    )


def _spent(work: Callable[[], object]) -> Counter[str]:
    """Seconds of processor time, by kind of process."""
    before = _busy()
    work()
    time.sleep(0.1)
    after = _busy()
    after.subtract(before)
    return after


def _busy() -> Counter[str]:
    total: Counter[str] = Counter()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            command, times = " ".join(process.cmdline()), process.cpu_times()
            for part, kind in KINDS.items():
                if part in command:
                    total[kind] += times.user + times.system
                    break
    return total


def _get(url: str, paths: list[str]) -> None:
    with httpx2.Client(base_url=url, trust_env=False) as client:
        for path in paths:
            answer = client.get(path)
            assert answer.status_code == 200, answer.text
