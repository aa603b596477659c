"""Starts `danqing serve` in a process of its own for a benchmark, on a free port and a throw-away data directory."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

READY_DEADLINE_S = 180.0


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(data_dir: Path) -> Generator[tuple[str, float, float]]:
    """Runs the server. Gives its base URL, seconds to its first answer and seconds until its model was loaded.

    It runs in data_dir, so that no `.env` of a developer changes what is measured.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "danqing", "serve", "--port", str(port), "--data-dir", str(data_dir)]
    started = time.perf_counter()
    with (data_dir / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=data_dir, stdout=log, stderr=log)
    try:
        answered = _wait(url, process, lambda health: True) - started
        ready = _wait(url, process, lambda health: health["data"]["model_loaded"]) - started
        yield url, answered, ready
    finally:
        process.terminate()
        process.wait(30)


def _wait(url: str, process: subprocess.Popen[bytes], good: Callable[[Any], bool]) -> float:
    deadline = time.perf_counter() + READY_DEADLINE_S
    while time.perf_counter() < deadline:
        if process.poll() is not None:
            raise RuntimeError("the server ended; see server.log in its data directory")
        try:
            if good(httpx2.get(f"{url}/health", trust_env=False).json()):
                return time.perf_counter()
        except httpx2.TransportError:
            pass
        time.sleep(0.01)
    raise RuntimeError("the server did not become ready")
