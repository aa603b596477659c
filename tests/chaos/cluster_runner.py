"""As `runner.py`, over several machines: API processes, nodes, and what they share, each struck in turn."""

import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
from kombu import Connection

from danqing.queue.celery_app import queue_of
from tests.chaos.api import SWEPT_AFTER_S
from tests.chaos.asking import OwnJobs, clients_asking
from tests.chaos.audit import audit
from tests.chaos.clients import hang_up
from tests.chaos.engine import KILLER, SLOW
from tests.chaos.points import ClusterPoint, Victim, writes
from tests.chaos.report import Report
from tests.chaos.runner import IDLE_S, STRUCK_S, within
from tests.e2e.cluster import LEASE_S, Node, a_cluster
from tests.e2e.servers import DEADLINE_S, Server

SETTINGS = {"DANQING_DRAIN_DEADLINE_S": "0.3", "DANQING_MAX_QUEUE_SIZE": "500", "DANQING_LOG_LEVEL": "info"}
SWEPT = '"event": "pictures_reconciled"'
QUEUE = queue_of("sample")
AWAY_S = (0.0, 2.0)  # for how long a shared part is away, from and to


class ClusterChaos:
    """One run over one cluster."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        say: Callable[[str], None] = lambda line: None,
        broker_url: str | None = None,
    ) -> None:
        """broker_url: RabbitMQ's; None for the cluster's Redis."""
        self._folder = folder
        self._broker_url = broker_url
        self._random = random.Random(seed)
        self._say = say
        self._enough = threading.Event()
        self.report = Report(seed=seed)
        self._own = OwnJobs(self.report, lambda: self._random.choice(self._cluster.apis).url)

    def stop(self) -> None:
        """Strikes no more, and looks at what became of everything so far. For a signal handler."""
        self._enough.set()

    def run(self, points: Sequence[ClusterPoint]) -> Report:
        """Strikes at each of these, in this order."""
        began = time.monotonic()
        with a_cluster(
            self._folder,
            api_command=("-m", "tests.chaos.api", str(self._folder)),
            node_command=("-m", "tests.chaos.node", str(self._folder)),
            broker_url=self._broker_url,
            settings=SETTINGS,
        ) as self._cluster:
            self._cluster.start()
            self._cluster.records.take_notes()
            with clients_asking([api.url for api in self._cluster.apis], self.report):
                for number, point in enumerate(points, 1):
                    if self._enough.is_set():
                        break
                    self._strike(point)
                    if number % 25 == 0:
                        self._say(f"{number} of {len(points)} strikes, {self.report.kills} kills")
            self._look()
        self.report.seconds = time.monotonic() - began
        return self.report

    def _strike(self, point: ClusterPoint) -> None:
        cluster = self._cluster
        match point:
            case ClusterPoint.API:
                self._signal(point, self._random.choice(cluster.apis), signal.SIGKILL)
            case ClusterPoint.API_DRAIN:
                self._signal(point, self._random.choice(cluster.apis), signal.SIGTERM)
            case ClusterPoint.NODE:
                self._signal(point, self._random.choice(cluster.nodes), signal.SIGKILL)
            case ClusterPoint.NODE_DRAIN:
                self._own.submit(SLOW)
                self._signal(point, self._random.choice(cluster.nodes), signal.SIGTERM)
            case ClusterPoint.NODE_STOPPED:
                self._stop_node(self._random.choice(cluster.nodes))
            case ClusterPoint.KILLER_JOB:
                self._killer_job()
            case ClusterPoint.CLIENT_GONE:
                hang_up(self._random.choice(cluster.apis).url, self._own.prompt("hung up on"))
            case ClusterPoint.REDIS:
                self._part_away(point, cluster.redis.kill, cluster.redis.start)
            case ClusterPoint.FLUSHED:
                cluster.redis.flush()
                if self._broker_url is not None:
                    _purge(self._broker_url)
            case ClusterPoint.DATABASE:
                self._part_away(point, cluster.postgres.crash, cluster.postgres.start)
            case ClusterPoint.OBJECTS:
                assert cluster.objects is not None
                self._part_away(point, cluster.objects.kill, cluster.objects.start)
            case _:
                if not self._armed(point):
                    return
        self.report.strikes[point] += 1

    def _signal(self, point: ClusterPoint, server: Server, number: signal.Signals) -> None:
        time.sleep(self._random.uniform(0, 0.2))
        assert server.process is not None
        below = _below(server)
        server.process.send_signal(number)
        self._after_death(point, server, below)

    def _after_death(self, point: ClusterPoint, server: Server, below: Sequence[psutil.Process]) -> None:
        """below: the workers that it had; they must be gone with it. Then it starts again."""
        assert server.process is not None
        server.process.wait(DEADLINE_S)
        died = time.monotonic()
        if psutil.wait_procs(below, timeout=60)[1]:
            self.report.wrong.append(f"a worker outlived its {point.victim.value}")
        server.start()
        self._until_ready(point.victim, died)

    def _until_ready(self, victim: Victim, died: float) -> None:
        within(DEADLINE_S, self._cluster.is_whole, f"a cluster that is whole again, after the {victim.value}")
        self.report.recovered(victim, died)

    def _armed(self, point: ClusterPoint) -> bool:
        """False if nobody came to the point."""
        servers: Sequence[Server] = self._cluster.apis if point.victim is Victim.API else self._cluster.nodes
        below = {server.folder: _below(server) for server in servers}
        pids = {node.folder: node.worker_pids() for node in self._cluster.nodes}
        point.arm(self._folder)
        try:
            within(STRUCK_S, lambda: not point.is_armed(self._folder), f"nobody came to {point.label}")
        except AssertionError as late:
            if point.disarm(self._folder):
                self.report.wrong.append(str(late))
                return False
        if point.victim is Victim.WORKER:
            died = time.monotonic()
            within(DEADLINE_S, lambda: self._is_replaced(pids), "another worker")
            self._until_ready(Victim.WORKER, died)
            return True
        within(DEADLINE_S, lambda: any(_has_ended(server) for server in servers), f"a death at {point.label}")
        for server in servers:
            if _has_ended(server):
                self._after_death(point, server, below[server.folder])
        return True

    def _is_replaced(self, before: dict[Path, list[int]]) -> bool:
        return any(node.worker_pids() not in ([], before[node.folder]) for node in self._cluster.nodes)

    def _stop_node(self, node: Node) -> None:
        """Until what it had has been given to others; then it goes on, and must find that out."""
        node.signal(signal.SIGSTOP)
        stopped = time.monotonic()
        time.sleep(LEASE_S + self._random.uniform(0.5, 3.0))
        node.signal(signal.SIGCONT)
        self._until_ready(Victim.NODE, stopped)

    def _part_away(self, point: ClusterPoint, kill: Callable[[], None], start: Callable[[], None]) -> None:
        died = time.monotonic()
        kill()
        time.sleep(self._random.uniform(*AWAY_S))
        start()
        self._until_ready(point.victim, died)

    def _killer_job(self) -> None:
        """It must fail of its attempts, and the others must go on."""
        accepted: list[str] = []

        def is_accepted() -> bool:
            accepted.extend(filter(None, [self._own.submit(KILLER)]))
            return bool(accepted)

        within(DEADLINE_S, is_accepted, "a job that kills its workers, accepted")
        api = self._cluster.apis[0]
        within(DEADLINE_S, lambda: api.task(accepted[0])["status"] == "failed", "the killer's end")
        self._until_ready(Victim.WORKER, time.monotonic())

    def _look(self) -> None:
        """After everything has ended, and a last start has swept."""
        cluster = self._cluster
        with contextlib.suppress(AssertionError):  # the audit tells which are stuck
            within(IDLE_S, lambda: cluster.records.unfinished() == 0, "the end of the last job")
        for server in (*cluster.nodes, *cluster.apis):
            if server.terminate() != 0:
                self.report.wrong.append(f"{server.folder.name} did not end well")
        sweeps = cluster.apis[0].log.count(SWEPT)
        time.sleep(SWEPT_AFTER_S)
        cluster.apis[0].start()
        within(DEADLINE_S, lambda: cluster.apis[0].log.count(SWEPT) > sweeps, "a sweep")
        if cluster.apis[0].terminate() != 0:
            self.report.wrong.append("an API process did not end well")
        self.report.findings = audit(
            cluster.records.read(),
            cluster.pictures(),
            job_ids=self.report.promises.job_ids,
            fingerprints=self.report.promises.fingerprints,
            writes=writes(self._folder),
        )


def _purge(broker_url: str) -> None:
    with Connection(broker_url, connect_timeout=5) as connection:
        connection.channel().queue_purge(QUEUE)


def _below(server: Server) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for pid in server.worker_pids():
        with contextlib.suppress(psutil.NoSuchProcess):  # ended just now
            found.append(psutil.Process(pid))
    return found


def _has_ended(server: Server) -> bool:
    return server.process is not None and server.process.poll() is not None
