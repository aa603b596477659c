"""Events of one job to a thousand WebSockets: how soon, how many a second, at what cost, and whether one is missed.

Danqing's live dialect beside a FastAPI + thread server with the same messages (seed 001). The job waits behind others
until every socket follows it. Sooner or later is told from the moment that the device ended the step.
"""

import asyncio
import base64
import json
import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import uvloop
from comparison import Findings, Goal, over_requests, over_rounds
from services import CORES, Device, Opens, Service, danqing, fastapi_thread, home, in_turn

SPARE_FILES = 512
AT_ONCE = 50
STEPS = 10
STEP_S = 0.4
DEADLINE_S = 120.0


class Listener(asyncio.Protocol):
    """One socket. Only notes what comes and when: it is read once all is over."""

    def __init__(self, host: str, params: dict[str, object]) -> None:
        self._host = host
        self._params = params
        self.came: list[tuple[float, bytes]] = []
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET /api/ws HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def follow(self) -> None:
        """Asks for the job, which all others ask for too."""
        message = {"type": "create_job", "task_type": "text_to_image", "request_id": "r", "params": self._params}
        body = json.dumps(message).encode()
        self._transport.write(b"\x81\xfe" + len(body).to_bytes(2, "big") + bytes(4) + body)

    def data_received(self, data: bytes) -> None:
        self.came.append((time.monotonic(), data))
        if not self.open.done():
            self.open.set_result(None)
        if not self.joined.done() and b'"pending"' in data:
            self.joined.set_result(None)
        if not self.ended.done() and b'"completed"' in data:
            self.ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.open, self.joined, self.ended):
            if not future.done():
                future.set_exception(RuntimeError("the server closed a WebSocket"))

    def close(self) -> None:
        self._transport.abort()

    def messages(self) -> list[tuple[float, dict[str, object]]]:
        """Each, with when its last byte came. A frame here is a whole text, unmasked."""
        found: list[tuple[float, dict[str, object]]] = []
        rest = b""
        for at, data in self.came:
            rest += data
            if not found and b"\r\n\r\n" in rest[:1024]:
                rest = rest.partition(b"\r\n\r\n")[2] if rest.startswith(b"HTTP/1.1 101") else rest
            while (frame := _frame(rest)) is not None:
                text, rest = frame
                if text:
                    found.append((at, json.loads(text)))
        return found


def _frame(data: bytes) -> tuple[bytes, bytes] | None:
    """The text of the first whole frame (empty for a ping), and what follows it."""
    if len(data) < 2 or data.startswith(b"HTTP"):
        return None
    size, begin = data[1], 2
    if size == 126:
        size, begin = int.from_bytes(data[2:4], "big"), 4
    if len(data) < begin + size:
        return None
    is_text = data[0] & 0x0F == 1
    return (data[begin : begin + size] if is_text else b""), data[begin + size :]


@dataclass
class Taken:
    """late_ms: of each event at each socket after its step. The others by round."""

    late_ms: list[float] = field(default_factory=list[float])
    per_s: list[float] = field(default_factory=list[float])
    cpu_ms: list[float] = field(default_factory=list[float])
    missed: int = 0


def params(seed: int) -> dict[str, object]:
    """Of a job. Those of one seed are one job."""
    return {"prompt": "a cat", "width": 64, "height": 64, "steps": STEPS, "guidance_scale": 0.0, "seed": seed}


async def _opened(url: str, sockets: int, wanted: dict[str, object]) -> list[Listener]:
    host = url.removeprefix("http://")
    name, _, port = host.partition(":")
    loop = asyncio.get_running_loop()
    listeners: list[Listener] = []
    for begin in range(0, sockets, AT_ONCE):
        some = [Listener(host, wanted) for _ in range(min(AT_ONCE, sockets - begin))]
        await asyncio.gather(*(loop.create_connection(lambda one=one: one, name, int(port)) for one in some))
        await asyncio.gather(*(one.open for one in some))
        listeners += some
    return listeners


async def load(service: Service, sockets: int, before: int) -> tuple[list[Listener], float]:
    """What every socket was told; and seconds of processor time while the job was made."""
    async with asyncio.timeout(DEADLINE_S):
        listeners = await _opened(service.url, sockets, params(0))
        blockers = [await _opened(service.url, 1, params(1 + number)) for number in range(before)]
        for (blocker,) in blockers:
            blocker.follow()
            await blocker.joined
        for begin in range(0, sockets, AT_ONCE):
            some = listeners[begin : begin + AT_ONCE]
            for one in some:
                one.follow()
            await asyncio.gather(*(one.joined for one in some))
        if blockers[-1][0].ended.done():
            raise RuntimeError("the machine is too slow: the job began before all sockets followed it")
        await blockers[-1][0].ended
        busy_s = service.busy_s()
        await asyncio.gather(*(one.ended for one in listeners))
        busy_s = service.busy_s() - busy_s
    for one in (*listeners, *(blocker for (blocker,) in blockers)):
        one.close()
    return listeners, busy_s


def note(taken: Taken, listeners: Sequence[Listener], busy_s: float, noted_in: Path) -> None:
    """One round."""
    ended = [float(line) for line in noted_in.read_text().split()][-STEPS:]
    by_step: dict[int, list[float]] = {step: [] for step in range(1, STEPS + 1)}
    told = 0
    for listener in listeners:
        seen = Counter[object]()
        for at, message in listener.messages():
            told += 1
            if message["type"] == "job_progress":
                progress = message["progress"]
                assert isinstance(progress, dict)
                if progress["stage"] != "generating":  # Danqing enlarges the picture too
                    continue
                by_step[progress["current_step"]].append(at)
                seen[progress["current_step"]] += 1
            else:
                seen[message["status"]] += 1
        wanted = (*range(1, STEPS + 1), "pending", "processing", "completed")
        taken.missed += sum(not seen[each] for each in wanted)
    for step, times in by_step.items():
        taken.late_ms += [1e3 * (at - ended[step - 1]) for at in times]
        taken.per_s.append(len(times) / (max(times) - ended[step - 1]))
    taken.cpu_ms.append(1e6 * busy_s / told)


def one_round(opens: Opens, taken: Taken, sockets: int, before: int) -> None:
    """A fresh service."""
    with tempfile.TemporaryDirectory(dir=home()) as folder:
        noted_in = Path(folder, "steps")
        device = Device(delay_s=STEPS * STEP_S, steps=STEPS, noted_in=noted_in)
        with opens(Path(folder), device) as service:
            listeners, busy_s = uvloop.run(load(service, sockets, before))
        note(taken, listeners, busy_s, noted_in)


def measure(quick: bool) -> dict[str, object]:
    """Both in turn."""
    sockets, rounds, before = (200, 1, 1) if quick else (1000, 2, 2)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4 * sockets + SPARE_FILES), most))  # servers inherit it
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(cores)[:CORES]))
    ways: dict[str, Opens] = {"danqing": danqing, "FastAPI + thread": fastapi_thread}
    taken = {name: Taken() for name in ways}
    try:
        for number in range(rounds):
            for name, opens in in_turn(ways, number):
                one_round(opens, taken[name], sockets, before)
    finally:
        os.sched_setaffinity(0, cores)
    return report(taken, sockets).as_dict()


def report(taken: dict[str, Taken], sockets: int) -> Findings:
    """Side by side."""
    found = Findings(notes=["FastAPI + Celery + Redis and LitServe tell no events."])
    own, (peer, theirs) = taken.pop("danqing"), next(iter(taken.items()))
    found.figure(f"events missed by {sockets} sockets", own.missed, "", goal=Goal(bound=0, kind="at most"))
    found.figure(f"events missed by {sockets} sockets of {peer}", theirs.missed, "")
    found.compare(
        f"a step told to each of {sockets} sockets, after it ended",
        over_requests(own.late_ms),
        peer,
        over_requests(theirs.late_ms),
        "ms",
        better="less",
    )
    found.compare("events a second", over_rounds(own.per_s), peer, over_rounds(theirs.per_s), "events/s", better="more")
    found.compare(
        "processor time of a thousand events, everything",
        over_rounds(own.cpu_ms),
        peer,
        over_rounds(theirs.cpu_ms),
        "ms",
        better="less",
    )
    return found


if __name__ == "__main__":
    from report import told

    print("\n".join(told(measure(quick=False))))
