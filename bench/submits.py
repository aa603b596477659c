"""Accepted submits a second over HTTP, 64 clients, on two cores: Danqing beside the same code without group commit,
beside a plain FastAPI + Celery + Redis service and servers with a thread, in memory or with SQLite, in turn in one run.

Beside the rate stands the processor time that a submit cost, all processes of the service together: other programs on
the machine take part in the rates, and hardly in that.

Danqing answers a submit once it is synced to disk (SQLite, `synchronous=FULL`). Redis is measured with
`appendfsync always`, which promises the same, and as it comes, which promises nothing across a power cut. Every server
is fresh in each round, has one process for HTTP and one worker that keeps its first job, and gets the same requests
from the same loader.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil
from comparison import AHEAD, Findings, over_rounds
from served import answered, free_port, running
from services import CORES, THREAD, THREAD_KEEPS, Device, Service, fastapi_celery, fastapi_thread, home, missing_peers

CLIENTS = 64
PATH, PATH_IN_LOOP = "/v1/images/generate", "/v1/images/generate-in-the-loop"
PATH_OF_THREAD = "/api/generate"
WARM_UP_S = 1.0
OURSELVES = "Danqing without group commit"
HERE = Path(__file__).parent
HELD_S = 36_000.0


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
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
    }
    with running([sys.executable, str(HERE / "fake_server.py"), "--idle", *options], folder, **settings):
        answered(f"http://127.0.0.1:{port}/readyz", lambda answer: answer.status_code == 200)
        yield port


def peers() -> dict[str, tuple[Callable[[Path], AbstractContextManager[Service]], str]]:
    """Each with the path that it is loaded at. Their device never ends its first picture."""
    held = Device(delay_s=HELD_S)
    found: dict[str, tuple[Callable[[Path], AbstractContextManager[Service]], str]] = {
        f"{THREAD}, in memory": (lambda folder: fastapi_thread(folder, held), PATH_OF_THREAD),
        THREAD_KEEPS: (lambda folder: fastapi_thread(folder, held, keeps=True), PATH_OF_THREAD),
    }
    if "FastAPI + Celery + Redis" not in missing_peers():
        aof = ("--appendonly", "yes", "--appendfsync", "always")
        found |= {
            "FastAPI + Celery + Redis, appendfsync always": (
                lambda folder: fastapi_celery(folder, held, redis_options=aof),
                PATH,
            ),
            "FastAPI + Celery + Redis as it comes": (lambda folder: fastapi_celery(folder, held), PATH),
            "FastAPI + Celery + Redis as it comes, blocking the loop": (
                lambda folder: fastapi_celery(folder, held),
                PATH_IN_LOOP,
            ),
        }
    return found


def measure(quick: bool) -> dict[str, object]:
    """See `compared`."""
    return compared(1, 2.0, on=home()) if quick else compared(3, 3.0, on=home())


def compared(rounds: int, seconds: float, *, on: str | None = None) -> dict[str, object]:
    """Submits a second of each way, and the processor time of one.

    on: where the servers keep their files; it decides on what disk is synced to.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(cores)[:CORES]))  # the servers inherit it
    ways: dict[str, tuple[Callable[[Path], AbstractContextManager[int | Service]], str]] = {
        "danqing": (danqing, PATH),
        OURSELVES: (lambda folder: danqing(folder, "--no-group-commit"), PATH),
        **peers(),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    costs: dict[str, list[float]] = {name: [] for name in ways}
    try:
        for number in range(rounds):
            # Every second round goes the other way round, so that a machine that gets slower or faster favours nobody.
            for name, (way, path) in list(ways.items())[:: -1 if number % 2 else 1]:
                with tempfile.TemporaryDirectory(dir=on) as folder, way(Path(folder)) as running_way:
                    port = running_way if isinstance(running_way, int) else running_way.port
                    rate, cost = submits_per_second(port, seconds, path)
                    rates[name].append(rate)
                    costs[name].append(cost)
    finally:
        os.sched_setaffinity(0, cores)
    found = Findings(notes=[f"{name} was not measured: {why}" for name, why in missing_peers().items()])
    found.notes.append(
        f"{CLIENTS} clients. Only Danqing, SQLite and appendfsync always promise anything across a power cut."
    )
    found.notes.append("LitServe has no submit: a request waits for its picture, and is gone with its connection.")
    for name in list(ways)[1:]:
        own, theirs = over_rounds(rates["danqing"]), over_rounds(rates[name])
        goal = None if name == OURSELVES else AHEAD
        found.compare("submits accepted", own, name, theirs, "submits/s", better="more", goal=goal)
        own, theirs = over_rounds(costs["danqing"]), over_rounds(costs[name])
        found.compare("processor time of a submit", own, name, theirs, "ms", better="less", goal=goal)
    return found.as_dict()


if __name__ == "__main__":
    from report import told

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--home", help="a folder on the disk to be measured")
    options = parser.parse_args()
    print("\n".join(told(compared(options.rounds, options.seconds, on=options.home))))
