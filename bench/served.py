"""Processes for benchmarks; and `danqing serve` as it is, on a free port and a throw-away data directory."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil

READY_DEADLINE_S = 180.0
START_DEADLINE_S = 120.0
CHILD_DEADLINE_S = 20.0
END_S = 4.0  # for a server to end by itself: nothing that it does then counts
# With it a process would compile our modules anew, which are not installed, but nobody else's, which are.
COMPILES_ANEW = "PYTHONDONTWRITEBYTECODE"


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def child(of: psutil.Process, word: str, *, within_s: float = CHILD_DEADLINE_S) -> psutil.Process:
    """The process that it started with this word in its command.

    Those that have ended have none any more, and one that starts just now has none yet: it is looked for within_s.
    """
    deadline = time.monotonic() + within_s
    while True:
        for one in of.children():
            with suppress(psutil.NoSuchProcess):
                if word in " ".join(one.cmdline()):
                    return one
        if time.monotonic() >= deadline:
            raise RuntimeError(f"nothing with {word} runs below process {of.pid}")
        time.sleep(0.01)


@contextmanager
def running(
    command: list[str], folder: Path, *, ends_on: int = signal.SIGTERM, **variables: str
) -> Generator[psutil.Process]:
    """A process, ended afterwards by that signal, and with it all that it started: what stays would be measured too."""
    environment = {name: value for name, value in os.environ.items() if name != COMPILES_ANEW} | variables
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield psutil.Process(process.pid)
    finally:
        below: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(ends_on)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for left in below:
            with suppress(psutil.NoSuchProcess):
                left.kill()


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
