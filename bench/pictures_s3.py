"""Pictures in a local directory beside an S3-compatible store on the same machine: stored, and sent to clients.

`python bench/pictures_s3.py [ROUNDS]`. The object store is the one that the tests start (SeaweedFS); what it writes
lies on the same disk. Clients are sent pictures by the server's own answer, or sent on to where they lie.
"""

import http.client
import json
import multiprocessing
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from danqing.blobs.local import LocalArtifactStore
from danqing.blobs.s3 import S3ArtifactStore
from danqing.core.picture_ports import ArtifactStore
from danqing.core.types import Artifact, ArtifactKind
from danqing.http.pictures import picture_response

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the tests' servers

from tests.services.s3 import s3_server

SIZES = {"1.5MB": 1_500_000, "24MB": 24_000_000}
CLIENTS = 8
PIECE_BYTES = 1 << 16


def serve(artifacts: ArtifactStore, ready: Connection) -> None:
    """In a process of its own: the server's answer, and nothing around it. Tells its port."""

    async def picture(request: Request) -> Response:
        artifact = Artifact(
            kind=ArtifactKind.ORIGINAL,
            name=request.path_params["name"],
            media_type="image/png",
            width=1,
            height=1,
            size_bytes=1,
        )
        return await picture_response(artifacts, artifact, filename="a.png")

    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    ready.send(listening.getsockname()[1])
    app = Starlette(routes=[Route("/{name}", picture)])
    uvicorn.Server(uvicorn.Config(app, log_level="error", loop="uvloop")).run(sockets=[listening])


def fetch(url: str) -> int:
    """Bytes of the picture; follows to where it lies."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    connection.request("GET", f"{parts.path}?{parts.query}")
    answer = connection.getresponse()
    try:
        if answer.status == 307:
            return fetch(answer.headers["Location"])
        received, buffer = 0, bytearray(PIECE_BYTES)
        while read := answer.readinto(buffer):
            received += read
        return received
    finally:
        connection.close()


def peak_mb(pid: int) -> int:
    """Most memory that the process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024


def per_second(work: Callable[[int], object], rounds: int, *, at_once: int = 1) -> float:
    """How often it is done in a second."""
    with ThreadPoolExecutor(at_once) as pool:
        began = time.perf_counter()
        list(pool.map(work, range(rounds)))
        return rounds / (time.perf_counter() - began)


def measured(artifacts: ArtifactStore, rounds: int) -> dict[str, float]:
    """Pictures a second, stored and read by one thread, and sent to CLIENTS clients at once."""
    figures: dict[str, float] = {}
    receiving, sending = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(artifacts, sending), daemon=True)
    process.start()
    url = f"http://127.0.0.1:{receiving.recv()}"
    assert process.pid is not None
    for label, size_bytes in SIZES.items():
        content, count = Random(1).randbytes(size_bytes), max(4, rounds * 1_500_000 // size_bytes)
        name = f"{label.replace('.', '-')}.png"
        figures[f"{label} stored/s"] = per_second(lambda _, c=content, n=name: artifacts.write(n, c), count)
        figures[f"{label} read/s"] = per_second(lambda _, n=name: artifacts.read(n), count)
        assert fetch(f"{url}/{name}") == size_bytes
        sent = per_second(lambda _, n=name: fetch(f"{url}/{n}"), count * 2, at_once=CLIENTS)
        figures[f"{label} sent/s"] = sent
        figures[f"{label} sent MB/s"] = sent * size_bytes / 1e6
    figures["server's peak MB"] = peak_mb(process.pid)
    process.terminate()
    process.join()
    return {name: round(figure, 1) for name, figure in figures.items()}


def measure(quick: bool) -> dict[str, dict[str, float]]:
    """See `compared`."""
    return compared(10 if quick else 100)


def compared(rounds: int) -> dict[str, dict[str, float]]:
    """The figures of each place, and how those of the object store compare with the directory's."""
    with tempfile.TemporaryDirectory() as folder, s3_server() as server:
        place = server.place(Path(folder))
        found = {
            "directory": measured(LocalArtifactStore(Path(folder) / "outputs"), rounds),
            "object store": measured(S3ArtifactStore(place), rounds),
            "redirected": measured(S3ArtifactStore(replace(place, redirects=True)), rounds),
        }
    ratios = {name: round(figure / found["directory"][name], 2) for name, figure in found["object store"].items()}
    return found | {"object store / directory": ratios}


if __name__ == "__main__":
    print(json.dumps(compared(int(sys.argv[1]) if len(sys.argv) > 1 else 100), indent=1))
