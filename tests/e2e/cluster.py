"""Starts clusters for the tests: PostgreSQL, Redis, an object store or a folder, API processes and nodes.

Each is a process of its own on a free port, and can be killed; what they wrote stays in the cluster's folder.
"""

import contextlib
import itertools
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import requests

from danqing.blobs.s3 import S3ArtifactStore
from tests.chaos.records import PostgresRecords
from tests.e2e.servers import ANSWER_S, DEADLINE_S, Server, until
from tests.fakes.pictures import pictures_in
from tests.services.ports import free_ports
from tests.services.postgres import PostgresServer, running_postgres
from tests.services.redis import RedisServer
from tests.services.s3 import S3Server
from tests.zoo.engines import Zoo

LEASE_S = 4.0  # a machine may stand still for a while without losing one
PREFIX = "cluster"


class Node(Server):
    """One machine's `danqing worker`, started again and again under one name."""

    def start(self) -> None:
        """It loads its model in the background."""
        self.process = self.popen()

    def signal(self, number: signal.Signals) -> None:
        """To the node itself; its engine goes on."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        """Until it has ended; its exit status."""
        assert self.process is not None
        return self.process.wait(DEADLINE_S)

    @property
    def name(self) -> str:
        """What people call it."""
        return self.settings["DANQING_NODE_NAME"]

    @property
    def told_id(self) -> str:
        """Of the newest start, as the node itself has told it; empty before it has."""
        told = dict(line.split(maxsplit=1) for line in self.summary if len(line.split()) == 2)
        return told.get("node", "")

    @property
    def id(self) -> str:
        """The same, once it has."""
        until(lambda: self.told_id != "", f"{self.name} to say its id")
        return self.told_id

    def has_logged(self, event: str) -> bool:
        """Since it was started first."""
        return re.search(rf"\b{event}\b", self.log) is not None


@dataclass(kw_only=True)
class Cluster:
    """API processes and nodes over one of each shared part. Those that it was made with run once `start` is called,
    others as soon as they are asked for.

    postgres: of all tests of this process, and not to be killed, in a small one. objects: None where pictures are in a
    folder. settings: of every process.
    """

    folder: Path
    redis: RedisServer
    database_url: str
    settings: dict[str, str]
    postgres: PostgresServer
    objects: S3Server | None = None
    apis: list[Server] = field(default_factory=list[Server])
    nodes: list[Node] = field(default_factory=list[Node])

    @property
    def zoo(self) -> Zoo:
        """The gates of all engines."""
        return Zoo(folder=self.folder)

    @property
    def records(self) -> PostgresRecords:
        """What the database says."""
        return PostgresRecords(self.database_url)

    def api(self, name: str = "api", **settings: str) -> Server:
        """One more, started; it answers."""
        server = self.new_api(name, ("-m", "danqing", "serve"), **settings)
        server.start()
        return server

    def node(self, name: str = "node", **settings: str) -> Node:
        """One more, started."""
        node = self.new_node(name, (), **settings)
        node.start()
        return node

    def new_api(self, name: str, command: tuple[str, ...], **settings: str) -> Server:
        """One more, not started."""
        server = Server(_made(self.folder / name), self.settings | settings, command)
        self.apis.append(server)
        return server

    def new_node(self, name: str, command: tuple[str, ...] = (), **settings: str) -> Node:
        """One more, not started. command: () for zoo engines, whose gates are the cluster's."""
        node = Node(
            _made(self.folder / name),
            self.settings | {"DANQING_NODE_NAME": name} | settings,
            command or ("-m", "tests.e2e.zoo_node", str(self.folder)),
        )
        self.nodes.append(node)
        return node

    def until_consuming(self, *nodes: Node) -> None:
        """Each fetches messages."""
        for node in nodes:
            until(lambda node=node: node.has_logged("consuming"), f"{node.name} to take jobs")

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
        wanted = {node.told_id for node in self.nodes}
        return wanted <= self._at_work() and all(is_ready(api) for api in self.apis)

    def _at_work(self) -> set[str]:
        """Ids of nodes, as the database has them."""
        try:
            with psycopg.connect(self.database_url, connect_timeout=ANSWER_S) as connection:
                rows = connection.execute("SELECT id, workers FROM nodes WHERE lease_until > clock_timestamp()")
                return {node_id for node_id, workers in rows if '"ready"' in workers or '"busy"' in workers}
        except psycopg.Error:
            return set()

    def pictures(self) -> Mapping[str, Callable[[], bytes]]:
        """What reads each object that is there, by name."""
        assert self.objects is not None
        store = S3ArtifactStore(self.objects.place(self.folder / "staging", prefix=PREFIX))
        names = itertools.chain.from_iterable(pictures_in(store).values())
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
    has_objects: bool = True,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Cluster]:
    """With a PostgreSQL and an object store of its own. Of it only the shared parts run; everything is ended
    afterwards. broker_url: RabbitMQ's; None: the Redis. has_objects: False for a folder in place of the object store.
    """
    with contextlib.ExitStack() as stack:
        postgres = PostgresServer()
        stack.callback(postgres.close)
        objects = stack.enter_context(_an_object_store(folder / "objects")) if has_objects else None
        database_url = postgres.new_database()
        pictures = objects.environment(PREFIX) if objects else {"DANQING_OUTPUT_DIR": str(folder / "pictures")}
        shared = {**pictures, **(settings or {})}
        cluster = stack.enter_context(_over(folder, postgres, database_url, broker_url, shared))
        cluster.objects = objects
        for number, port in enumerate(free_ports(apis)):
            cluster.new_api(f"api-{number}", api_command, DANQING_PORT=str(port))
        for number in range(nodes):
            cluster.new_node(f"node-{number}", node_command)
        yield cluster


@contextlib.contextmanager
def _an_object_store(folder: Path) -> Iterator[S3Server]:
    objects = S3Server(_made(folder))
    try:
        objects.start()
        yield objects
    finally:
        objects.kill()


@contextlib.contextmanager
def a_small_cluster(folder: Path, *, broker_url: str | None = None, **settings: str) -> Iterator[Cluster]:
    """With nobody in it, over a database in the PostgreSQL of all tests, and a folder for pictures; quickly there.
    Everything is ended afterwards.
    """
    postgres = running_postgres()
    database_url = postgres.new_database()
    pictures = {"DANQING_OUTPUT_DIR": str(folder / "pictures")}
    try:
        with _over(folder, postgres, database_url, broker_url, pictures | settings) as cluster:
            yield cluster
    finally:
        postgres.drop_database(database_url)


@contextlib.contextmanager
def _over(
    folder: Path, postgres: PostgresServer, database_url: str, broker_url: str | None, settings: Mapping[str, str]
) -> Iterator[Cluster]:
    redis = RedisServer()
    redis.start()
    shared = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis.url,
        **({} if broker_url is None else {"CELERY_BROKER_URL": broker_url}),
        "DANQING_LEASE_S": f"{LEASE_S:g}",
        "DANQING_LOG_FORMAT": "json",
        **settings,
    }
    cluster = Cluster(folder=folder, redis=redis, database_url=database_url, settings=shared, postgres=postgres)
    try:
        yield cluster
    finally:
        cluster.close()
        redis.kill()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
