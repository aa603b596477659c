"""Accepted submits a second over HTTP, 64 clients, on two cores: Danqing beside the same code without group commit and
beside a plain FastAPI + Celery + Redis service, in turn in one run.

Beside the rate stands the processor time that a submit cost, all processes of the service together: other programs on
the machine take part in the rates, and hardly in that.

Danqing answers a submit once it is synced to disk (SQLite, `synchronous=FULL`). Redis is measured with
`appendfsync always`, which promises the same, and as it comes, which promises nothing across a power cut. Every server
is fresh in each round, has one process for HTTP and one idle worker, and gets the same requests from the same loader.

Needs a redis-server in the path; Celery is downloaded into `--packages` (a folder of its own, not the environment).
"""

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import httpx2
import psutil
from served import free_port

CELERY = ("celery[redis]==5.7.0",)
CORES = 2
CLIENTS = 64
PATH, PATH_IN_LOOP = "/v1/images/generate", "/v1/images/generate-in-the-loop"
WARM_UP_S = 1.0
HERE = Path(__file__).parent
START_DEADLINE_S = 120.0


class _Client(asyncio.Protocol):
    """One connection that sends a request, waits for the answer, sends the next one. Counts what is answered 200."""

    def __init__(self, number: int, path: str, ended: "asyncio.Future[None]") -> None:
        self._number = number
        self._path = path.encode()
        self._ended = ended
        self._sent = 0
        self._answer = b""
        self.accepted: list[float] = []  # when each answer was there

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent += 1
        body = (
            b'{"prompt":"a cat sitting on the chair, number %d of client %d","height":128,"width":128,'
            b'"num_inference_steps":9,"guidance_scale":0.0,"seed":%d,"negative_prompt":""}'
            % (self._sent, self._number, self._sent)
        )
        self._transport.write(
            b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (self._path, len(body), body)
        )

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not found:
            return
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if len(body) < int(lengths[0].split(b":")[1]):
            return
        if not head.startswith(b"HTTP/1.1 200") or b'"task_id"' not in body:
            self._fail(RuntimeError(f"not accepted: {self._answer[:300]!r}"))
            return
        self.accepted.append(time.perf_counter())
        self._answer = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(RuntimeError("the server closed a connection"))

    def _fail(self, error: Exception) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    def close(self) -> None:
        self._transport.abort()


async def load(port: int, path: str, seconds: float, *, clients: int = CLIENTS, first: int = 0) -> list[float]:
    """The times of all answers, sorted. first: the number of the first client."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    loading = [_Client(first + number, path, ended) for number in range(clients)]
    for client in loading:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)
    await asyncio.wait([ended], timeout=WARM_UP_S + seconds)
    if ended.done():
        ended.result()
    ended.cancel()
    for client in loading:
        client.close()
    return sorted(at for client in loading for at in client.accepted)


def submits_per_second(port: int, seconds: float, path: str = PATH) -> tuple[float, float]:
    """Of the time after the warm-up; and milliseconds of processor time that each submit cost the servers."""
    started, servers = time.perf_counter(), psutil.Process().children(recursive=True)
    busy_s = sum(map(_busy_s, servers))
    answers = asyncio.run(load(port, path, seconds))
    busy_s = sum(map(_busy_s, servers)) - busy_s
    begin = started + WARM_UP_S
    return sum(begin <= at < begin + seconds for at in answers) / seconds, 1000 * busy_s / len(answers)


def _busy_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


@contextmanager
def running(command: list[str], folder: Path, **variables: str) -> Generator[None]:
    """A process, ended afterwards."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, env=os.environ | variables, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answered(url: str, good: Callable[[httpx2.Response], bool]) -> None:
    """Waits until a GET is answered as it should."""
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline:
        try:
            if good(httpx2.get(url, trust_env=False)):
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"{url} did not come up")


@contextmanager
def danqing(folder: Path, *options: str) -> Generator[int]:
    """Its port."""
    port = free_port()
    settings = {
        "DANQING_PORT": str(port),
        "DANQING_DATA_DIR": str(folder / "data"),
        "DANQING_MAX_QUEUE_SIZE": "1000000",
        "DANQING_DRAIN_DEADLINE_S": "0",
        "DANQING_LOG_LEVEL": "warning",
        "TASK_TIMEOUT": "86400",
        "CUDA_AVAILABLE": "false",
        "PYTHONPATH": str(HERE),
    }
    with running([sys.executable, str(HERE / "fake_server.py"), "--idle", *options], folder, **settings):
        answered(f"http://127.0.0.1:{port}/readyz", lambda answer: answer.status_code == 200)
        yield port


@contextmanager
def celery_service(folder: Path, packages: Path, *redis_options: str) -> Generator[int]:
    """Its port."""
    port, redis_port = free_port(), free_port()
    variables = {
        "CELERY_SERVICE_REDIS": f"redis://127.0.0.1:{redis_port}/0",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(packages)]),
    }
    redis = ["redis-server", "--bind", "127.0.0.1", "--port", str(redis_port), "--dir", str(folder), *redis_options]
    uvicorn = ["uvicorn", "celery_service:app", "--port", str(port), "--no-access-log", "--log-level", "warning"]
    worker = ["celery", "-A", "celery_service:celery", "worker", "-P", "solo", "-c", "1", "-l", "warning"]
    with ExitStack() as stack:
        stack.enter_context(running(redis, folder))
        stack.enter_context(running([sys.executable, "-m", *worker], folder, **variables))
        stack.enter_context(running([sys.executable, "-m", *uvicorn], folder, **variables))
        answered(f"http://127.0.0.1:{port}/openapi.json", lambda answer: answer.status_code == 200)
        yield port


def fetch_celery(packages: Path) -> None:
    """Downloads it where it is not there yet."""
    if not (packages / "celery").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(packages), *CELERY]
        subprocess.run(command, check=True)


def measure(
    rounds: int, seconds: float = 6.0, *, packages: Path | None = None, home: Path | None = None
) -> dict[str, float | str]:
    """Submits a second of each way, the median of the rounds with their range, and Danqing's ratio to each.

    home: where the servers keep their files; it decides on what disk is synced to.
    """
    if shutil.which("redis-server") is None:
        raise RuntimeError("redis-server is not in the path")
    packages = packages or Path(tempfile.gettempdir()) / "danqing-bench-celery"
    fetch_celery(packages)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(cores)[:CORES]))  # the servers inherit it
    aof = ("--appendonly", "yes", "--appendfsync", "always")
    ways: dict[str, tuple[Callable[[Path], AbstractContextManager[int]], str]] = {
        "danqing": (danqing, PATH),
        "danqing_without_group_commit": (lambda folder: danqing(folder, "--no-group-commit"), PATH),
        "celery_redis_appendfsync_always": (lambda folder: celery_service(folder, packages, *aof), PATH),
        "celery_redis_as_it_comes": (lambda folder: celery_service(folder, packages), PATH),
        "celery_redis_as_it_comes_blocking_the_loop": (lambda folder: celery_service(folder, packages), PATH_IN_LOOP),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    costs: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        # Every second round goes the other way round, so that a machine that gets slower or faster favours nobody.
        for name, (way, path) in list(ways.items())[:: -1 if number % 2 else 1]:
            with tempfile.TemporaryDirectory(dir=home) as folder, way(Path(folder)) as port:
                rate, cost = submits_per_second(port, seconds, path)
                rates[name].append(rate)
                costs[name].append(cost)
    os.sched_setaffinity(0, cores)
    figures: dict[str, float | str] = {"rounds": rounds, "seconds_each": seconds, "clients": CLIENTS, "cores": CORES}
    middle = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        cost_ms = statistics.median(costs[name])
        figures[f"{name}_per_s"] = f"{middle[name]:.0f} ({min(values):.0f} to {max(values):.0f}), {cost_ms:.2f} ms each"
    for name in list(ways)[1:]:
        figures[f"danqing_over_{name.removeprefix('danqing_')}"] = round(middle["danqing"] / middle[name], 2)
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--packages", type=Path, help="where Celery is, or is downloaded to")
    parser.add_argument("--home", type=Path, help="a folder on the disk to be measured")
    options = parser.parse_args()
    for key, value in measure(options.rounds, options.seconds, packages=options.packages, home=options.home).items():
        print(f"{key:<48} {value}")
