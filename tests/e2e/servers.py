"""Starts real servers for the tests: `danqing serve` in a process of its own, on a free port.

No server runs in the repository's root, where a developer may have an `.env`.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests

from danqing.config import Settings, variable_of
from tests.zoo.engines import Zoo

DEADLINE_S = 60.0
ANSWER_S = 30  # for one answer, or one connection, on a busy machine
ROOT = Path(__file__).parents[2]
PNG = b"\x89PNG\r\n\x1a\n"


def until(come: Callable[[], bool], what: str) -> None:
    """Waits for a condition; fails with its name when it does not come. The longer it takes the less often it looks,
    for that takes time of those that it waits for.
    """
    began = time.monotonic()
    while not come():
        waited_s = time.monotonic() - began
        assert waited_s < DEADLINE_S, f"never: {what}"
        time.sleep(min(max(waited_s / 20, 0.01), 0.1))


@dataclass
class Server:
    """One data dir, on which servers are started one after the other.

    command: Python's arguments; () for `danqing serve` with zoo engines.
    """

    folder: Path
    settings: dict[str, str] = field(default_factory=dict[str, str])
    command: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | None" = None
    url: str = ""

    @property
    def zoo(self) -> Zoo:
        """The gates of the engine."""
        return Zoo(folder=self.folder)

    @property
    def data_dir(self) -> Path:
        """Where the server writes."""
        return self.folder / "data"

    @property
    def summary(self) -> list[str]:
        """The lines that the newest server has printed."""
        return (self.folder / "out").read_text(encoding="utf-8").splitlines()

    @property
    def log(self) -> str:
        """Everything that the servers have written on standard error."""
        return (self.folder / "log").read_text(encoding="utf-8")

    def popen(self) -> "subprocess.Popen[bytes]":
        """A server process, just started."""
        with (self.folder / "log").open("a") as log, (self.folder / "out").open("w") as out:
            return subprocess.Popen(
                [sys.executable, *(self.command or ("-m", "tests.e2e.zoo_server", str(self.folder)))],
                cwd=self.folder,
                env=clean_environment() | {"DANQING_DATA_DIR": str(self.data_dir), "DANQING_PORT": "0"} | self.settings,
                stdout=out,
                stderr=log,
            )

    def start(self) -> None:
        """Starts a server and waits until it answers. Its workers may still be loading."""
        self.process = self.popen()
        announcement = self.data_dir / "server.json"

        def announced() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log
            with contextlib.suppress(OSError, ValueError):
                told = json.loads(announcement.read_text())
                self.url = told["url"]
                return told["pid"] == self.process.pid and self.health() is not None
            return False

        until(announced, "a server that answers")

    def start_ready(self) -> None:
        """Starts a server and waits until its model is loaded."""
        self.start()
        until(lambda: self.health() == {"status": "healthy", "model_loaded": True}, "a loaded model")

    def health(self, *, timeout_s: float = 2) -> dict[str, Any] | None:
        """The data of `/health`; None if it does not answer in time."""
        try:
            return requests.get(f"{self.url}/health", timeout=timeout_s).json()["data"]
        except requests.RequestException:
            return None

    def submit(self, prompt: str, *, side: int = 64, **others: int) -> str:
        """The id of the accepted job. others: further fields of the request."""
        wanted = {"prompt": prompt, "width": side, "height": side, **others}
        answer = requests.post(f"{self.url}/api/generate", json=wanted, timeout=ANSWER_S)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]["task_id"]

    def task(self, task_id: str) -> dict[str, Any]:
        """The job as the server tells it."""
        return requests.get(f"{self.url}/api/task/{task_id}", timeout=ANSWER_S).json()["data"]

    def wait_for(self, task_id: str, status: str) -> dict[str, Any]:
        """Waits until the job is in this state."""
        until(lambda: self.task(task_id)["status"] == status, f"job {status}")
        return self.task(task_id)

    def has_begun(self, task_id: str) -> bool:
        """Whether a step is done, or all of them."""
        told = self.task(task_id)
        return (told.get("progress") or 0) > 0 or told["status"] == "completed"

    def picture(self, task_id: str) -> bytes:
        """The picture of a completed job."""
        answer = requests.get(f"{self.url}/api/result/{task_id}", timeout=ANSWER_S)
        assert answer.headers["content-type"] == "image/png", answer.text
        return answer.content

    def worker_pids(self) -> list[int]:
        """Processes of workers (multiprocessing has a helper process as well)."""
        assert self.process is not None
        pids: list[int] = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # ended just now
                if "spawn_main" in " ".join(child.cmdline()):
                    pids.append(child.pid)
        return pids

    def terminate(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(DEADLINE_S)

    def kill_everything(self) -> None:
        """SIGKILL to the server and all below it, at once."""
        assert self.process is not None
        below = psutil.Process(self.process.pid).children(recursive=True)
        os.kill(self.process.pid, signal.SIGKILL)
        for child in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self.process.wait(DEADLINE_S)

    def close(self) -> None:
        """Leaves nothing running."""
        if self.process is not None and self.process.poll() is None:
            self.kill_everything()


class HealthWatch:
    """Asks `/health` again and again, and remembers whether it ever failed to answer."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self.answers = 0
        self.silent = False
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._stop.is_set():
            if self._server.health(timeout_s=20) is None:  # longer than a busy machine stands still
                self.silent = True
            self.answers += 1
            self._stop.wait(0.02)

    def __enter__(self) -> "HealthWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def clean_environment() -> dict[str, str]:
    """Ours, without settings of Danqing; the tests' modules can be imported from any working directory."""
    aliases = {alias for name in Settings.model_fields for alias in variable_of(name).aliases}
    kept = {
        name: value for name, value in os.environ.items() if name not in aliases and not name.startswith("DANQING_")
    }
    places = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return kept | {"CUDA_AVAILABLE": "false", "PYTHONPATH": places}


@contextlib.contextmanager
def a_server(folder: Path, *, command: tuple[str, ...] = (), **settings: str) -> Iterator[Server]:
    """A server that is not started yet; ended afterwards, whatever happens."""
    server = Server(folder, settings, command)
    try:
        yield server
    finally:
        server.close()
