"""Starts a real server, submits to it in five dialects, strikes it at one point after another, and looks what became
of everything that it had promised.
"""

import contextlib
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

import psutil
import requests

from danqing.store.connections import open_writing
from danqing.store.migration import migrate
from tests.chaos.asking import OwnJobs, clients_asking
from tests.chaos.audit import audit, files_in
from tests.chaos.clients import hang_up
from tests.chaos.engine import KILLER, SLOW
from tests.chaos.points import Point, Strike, Victim, writes
from tests.chaos.records import SqliteRecords
from tests.chaos.report import Report
from tests.e2e.servers import DEADLINE_S, Server

STRUCK_S = 60.0  # for somebody to come to an armed point
LOOK_S = 0.05  # between two looks whether something has come about
LOCKED_S = 0.8
IDLE_S = 300.0  # for the last jobs to end


class Chaos:
    """One run over one data dir."""

    def __init__(self, folder: Path, *, seed: int, say: Callable[[str], None] = lambda line: None) -> None:
        self._folder = folder
        self._random = random.Random(seed)
        self._say = say
        self._server = Server(
            folder,
            {"DANQING_DRAIN_DEADLINE_S": "0.3", "DANQING_MAX_QUEUE_SIZE": "500", "DANQING_LOG_LEVEL": "warning"},
            ("-m", "tests.chaos.server", str(folder)),
        )
        self._database = self._server.data_dir / "danqing.sqlite"
        self._enough = threading.Event()
        self.report = Report(seed=seed)
        self._own = OwnJobs(self.report, lambda: self._server.url)

    def stop(self) -> None:
        """Strikes no more, and looks at what became of everything so far. For a signal handler."""
        self._enough.set()

    def run(self, points: Sequence[Point]) -> Report:
        """Strikes at each of these, in this order."""
        began = time.monotonic()
        self._server.data_dir.mkdir()
        make_database(self._database)
        try:
            self._start()
            self._server.settings["DANQING_PORT"] = self._server.url.rpartition(":")[2]
            with clients_asking([self._server.url], self.report):
                for number, point in enumerate(points, 1):
                    if self._enough.is_set():
                        break
                    self._strike(point)
                    if number % 50 == 0:
                        self._say(f"{number} of {len(points)} strikes, {self.report.kills} kills")
            self._look()
        finally:
            self._server.close()
        self.report.seconds = time.monotonic() - began
        return self.report

    def _strike(self, point: Point) -> None:
        match point:
            case Point.SERVER:
                time.sleep(self._random.uniform(0, 0.2))
                self._signal_server(point, signal.SIGKILL)
                return
            case Point.DRAIN:
                self._own.submit(SLOW)
                self._signal_server(point, signal.SIGTERM)
                return
            case Point.KILLER_JOB:
                self._killer_job()
            case Point.LOCKED:
                self._lock_database()
            case Point.CLIENT_GONE:
                hang_up(self._server.url, self._own.prompt("hung up on"))
            case Point.SECOND_SERVER:
                self._second_server()
            case _:
                self._arm(point)
                return
        self.report.strikes[point] += 1

    def _arm(self, point: Point) -> None:
        workers, server = self._workers(), self._server.process
        assert server is not None
        point.arm(self._folder)
        try:
            within(STRUCK_S, lambda: not point.is_armed(self._folder), f"nobody came to {point.label}")
        except AssertionError as late:
            if point.disarm(self._folder):
                self.report.wrong.append(str(late))
                return
        died = time.monotonic()
        if point.victim is Victim.SERVER:
            self._after_death_of_server(point, workers)
        elif point.victim is Victim.WORKER:
            before = [worker.pid for worker in workers]
            _until(lambda: self._server.worker_pids() not in ([], before) and self._is_ready(), "another worker")
            self.report.recovered(Victim.WORKER, died)
            self.report.strikes[point] += 1
            assert server.poll() is None, "the server went with its worker"
        else:
            self.report.strikes[point] += 1

    def _workers(self) -> list[psutil.Process]:
        workers: list[psutil.Process] = []
        for pid in self._server.worker_pids():
            with contextlib.suppress(psutil.NoSuchProcess):  # ended just now
                workers.append(psutil.Process(pid))
        return workers

    def _signal_server(self, point: Point, number: signal.Signals) -> None:
        assert self._server.process is not None
        workers = self._workers()
        self._server.process.send_signal(number)
        self._after_death_of_server(point, workers)

    def _after_death_of_server(self, point: Point, workers: Sequence[psutil.Process]) -> None:
        """workers: those that it had; they must be gone with it. Then it starts again at its address."""
        assert self._server.process is not None
        self._server.process.wait(DEADLINE_S)
        died = time.monotonic()
        self.report.strikes[point] += 1
        if psutil.wait_procs(workers, timeout=60)[1]:
            self.report.wrong.append("a worker outlived its server")
        self._start()
        self.report.recovered(Victim.SERVER, died)

    def _start(self) -> None:
        self._server.start()
        _until(self._is_ready, "a loaded model")

    def _is_ready(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self._server.url}/readyz", timeout=2).status_code == 200
        return False

    def _killer_job(self) -> None:
        """It must fail of its attempts, and the others must go on."""
        accepted: list[str] = []

        def is_accepted() -> bool:
            accepted.extend(filter(None, [self._own.submit(KILLER)]))
            return bool(accepted)

        _until(is_accepted, "a job that kills its workers, accepted")
        _until(lambda: self._server.task(accepted[0])["status"] == "failed", "the killer's end")
        _until(self._is_ready, "a worker after the killer")

    def _lock_database(self) -> None:
        """As a program does that looks into the file with the wrong tool; it writes nothing."""
        with contextlib.closing(sqlite3.connect(self._database, isolation_level=None, timeout=10)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(LOCKED_S)
            other.execute("ROLLBACK")

    def _second_server(self) -> None:
        settings = self._server.settings
        other = Server(self._folder, settings | {"DANQING_PORT": "0"}, self._server.command).popen()
        if other.wait(DEADLINE_S) != 1 or "in use by another server" not in self._server.log:
            self.report.wrong.append("a second server was let in")

    def _look(self) -> None:
        """After everything has ended, and a last start has swept."""
        with contextlib.suppress(AssertionError):  # the audit tells which are stuck
            within(IDLE_S, lambda: SqliteRecords(self._database).unfinished() == 0, "the end of the last job")
        for last in (False, True):
            if self._server.terminate() != 0:
                self.report.wrong.append("the server did not end well")
            if not last:
                self._start()
        self.report.findings = audit(
            SqliteRecords(self._database).read(),
            files_in(self._server.data_dir / "outputs"),
            job_ids=self.report.promises.job_ids,
            fingerprints=self.report.promises.fingerprints,
            writes=writes(self._folder),
        )


P = TypeVar("P", bound=Strike)


def plan(kills: int, points: Collection[P], *, seed: int) -> list[P]:
    """Strikes in random order, each point as often as the others, until so many of them are kills."""
    chance, planned = random.Random(f"plan {seed}"), list[P]()
    while sum(point.kills for point in planned) < kills:
        planned += chance.sample(list(points), len(points))
    return planned


def make_database(path: Path) -> None:
    """A new one, in which every move is noted."""
    connection = open_writing(path)
    migrate(connection)
    connection.close()
    SqliteRecords(path).take_notes()


def _until(come: Callable[[], bool], what: str) -> None:
    within(DEADLINE_S, come, what)


def within(seconds: float, come: Callable[[], bool], what: str) -> None:
    """Waits for a condition. Raises AssertionError."""
    deadline = time.monotonic() + seconds
    while not come():
        assert time.monotonic() < deadline, what
        time.sleep(LOOK_S)
