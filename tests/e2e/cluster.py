"""Starts whole clusters for the tests: PostgreSQL, Redis, an object store, API processes and nodes.

Each is a process of its own on a free port, and can be killed; what they wrote stays in the cluster's folder.
"""

import contextlib
import itertools
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import requests

from danqing.blobs.s3 import S3ArtifactStore
from tests.chaos.records import PostgresRecords
from tests.e2e.servers import Server, until
from tests.services.postgres import PostgresServer
from tests.services.redis import RedisServer
from tests.services.s3 import S3Server, free_ports
from tests.zoo.engines import Zoo

LEASE_S = 2.0
PREFIX = "cluster"


class Node(Server):
    """One machine's `danqing worker`, started again and again under one name."""

    def start(self) -> None:
        """It loads its model in the background."""
        self.process = self.popen()

    def pause(self) -> None:
        """SIGSTOP to the node itself; its engine goes on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """After `pause`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    @property
    def id(self) -> str:
        """Of the newest start, as the node itself has told it; empty before it has."""
        told = dict(line.split(maxsplit=1) for line in self.summary if len(line.split()) == 2)
        return told.get("node", "")


@dataclass(kw_only=True)
class Cluster:
    """API processes and nodes over one of each shared part. Nothing runs before `start`."""

    folder: Path
    postgres: PostgresServer
    redis: RedisServer
    objects: S3Server
    database_url: str
    apis: list[Server]
    nodes: list[Node]

    @property
    def zoo(self) -> Zoo:
        """The gates of all engines."""
        return Zoo(folder=self.folder)

    @property
    def records(self) -> PostgresRecords:
        """What the database says."""
        return PostgresRecords(self.database_url)

    def start(self) -> None:
        """Starts everything, and waits until all nodes can make pictures and all API processes know it."""
        for server in (*self.apis, *self.nodes):
            server.start()
        self.until_whole()

    def until_whole(self) -> None:
        """Waits until every process is there and at work."""
        until(self.is_whole, "a cluster that is whole")

    def is_whole(self) -> bool:
        """Every node that was started last lives, with a loaded model, and every API process takes jobs."""
        wanted = {node.id for node in self.nodes}
        return wanted <= self._at_work() and all(is_ready(api) for api in self.apis)

    def _at_work(self) -> set[str]:
        """Ids of nodes, as the database has them."""
        try:
            with psycopg.connect(self.database_url, connect_timeout=5) as connection:
                rows = connection.execute("SELECT id, workers FROM nodes WHERE lease_until > clock_timestamp()")
                return {node_id for node_id, workers in rows if '"ready"' in workers or '"busy"' in workers}
        except psycopg.Error:
            return set()

    def pictures(self) -> Mapping[str, Callable[[], bytes]]:
        """What reads each object that is there, by name."""
        store = S3ArtifactStore(self.objects.place(self.folder / "staging", prefix=PREFIX))
        names = itertools.chain.from_iterable(store.pictures().values())
        return {name: partial(store.read, name) for name in names}

    def close(self) -> None:
        """Leaves nothing running."""
        for server in (*self.apis, *self.nodes):
            server.close()

    def wait_for(self, job_id: str, status: str) -> dict[str, Any]:
        """Waits until the job is in this state, whichever API process is asked."""
        apis = itertools.cycle(self.apis)
        until(lambda: next(apis).task(job_id)["status"] == status, f"job {status}")
        return self.apis[0].task(job_id)


class InTurn:
    """The API processes of a cluster, for tests that know of one server: each look at the address gives the next."""

    def __init__(self, cluster: Cluster) -> None:
        self._apis = itertools.cycle(cluster.apis)

    @property
    def url(self) -> str:
        """Of the next one."""
        return next(self._apis).url


def is_ready(api: Server) -> bool:
    """Whether it takes jobs."""
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"{api.url}/readyz", timeout=2).status_code == 200
    return False


@contextlib.contextmanager
def a_cluster(
    folder: Path,
    *,
    apis: int = 2,
    nodes: int = 2,
    api_command: tuple[str, ...] = (),
    node_command: tuple[str, ...] = (),
    broker_url: str | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Cluster]:
    """Of which only the shared parts run; everything is ended afterwards. broker_url: RabbitMQ's; None: the Redis."""
    with contextlib.ExitStack() as stack:
        postgres = PostgresServer()
        stack.callback(postgres.close)
        redis = RedisServer()
        stack.callback(redis.kill)
        redis.start()
        (folder / "objects").mkdir()
        objects = S3Server(folder / "objects")
        stack.callback(objects.kill)
        objects.start()
        database_url = postgres.new_database()
        shared = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis.url,
            **({} if broker_url is None else {"CELERY_BROKER_URL": broker_url}),
            **objects.environment(PREFIX),
            "DANQING_LEASE_S": str(LEASE_S),
            **(settings or {}),
        }
        ports = iter(free_ports(apis))
        cluster = Cluster(
            folder=folder,
            postgres=postgres,
            redis=redis,
            objects=objects,
            database_url=database_url,
            apis=[
                Server(_made(folder / f"api-{number}"), shared | {"DANQING_PORT": str(next(ports))}, api_command)
                for number in range(apis)
            ],
            nodes=[
                Node(
                    _made(folder / f"node-{number}"),
                    shared | {"DANQING_NODE_NAME": f"node-{number}"},
                    node_command or ("-m", "tests.e2e.zoo_node", str(folder)),
                )
                for number in range(nodes)
            ],
        )
        try:
            yield cluster
        finally:
            cluster.close()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
