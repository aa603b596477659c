"""API processes and nodes over one PostgreSQL and one Redis, each a process of its own; zoo engines on the nodes."""

import contextlib
import re
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.servers import DEADLINE_S, Server, until
from tests.services.postgres import running_postgres
from tests.services.redis import RedisServer
from tests.zoo.engines import Zoo

LEASE_S = 2


class NodeProcess(Server):
    """`danqing worker`. Its engine's gates are the fleet's."""

    name: str = ""

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
    def id(self) -> str:
        """Of the newest start."""
        until(lambda: any(line.startswith("  node ") for line in self.summary), f"{self.name} to say its id")
        return next(line.split()[1] for line in self.summary if line.startswith("  node "))

    def has_logged(self, event: str) -> bool:
        """Since it was started first."""
        return f'"event": "{event}"' in self.log or re.search(rf"\b{event}\b", self.log) is not None


class Fleet:
    """Nothing runs at first but PostgreSQL and Redis."""

    def __init__(self, folder: Path, *, broker_url: str | None = None, **settings: str) -> None:
        """broker_url: None for the Redis."""
        self.folder = folder
        self.redis = RedisServer()
        self.redis.start()
        self.database_url = running_postgres().new_database()
        self.settings = {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis.url,
            "DANQING_OUTPUT_DIR": str(folder / "pictures"),
            "DANQING_LEASE_S": str(LEASE_S),
            "DANQING_LOG_FORMAT": "json",
            **({"CELERY_BROKER_URL": broker_url} if broker_url else {}),
            **settings,
        }
        self._servers: list[Server] = []

    @property
    def zoo(self) -> Zoo:
        """The gates of all engines."""
        return Zoo(folder=self.folder)

    def api(self, name: str = "api") -> Server:
        """One more, started; it answers."""
        server = Server(self._folder(name), dict(self.settings), ("-m", "danqing", "serve"))
        self._servers.append(server)
        server.start()
        return server

    def node(self, name: str = "node", **settings: str) -> NodeProcess:
        """One more, started."""
        command = ("-m", "tests.e2e.zoo_node", str(self.folder))
        node = NodeProcess(self._folder(name), self.settings | {"DANQING_NODE_NAME": name} | settings, command)
        node.name = name
        self._servers.append(node)
        node.start()
        return node

    def until_consuming(self, *nodes: NodeProcess) -> None:
        """Each fetches messages."""
        for node in nodes:
            until(lambda node=node: node.has_logged("consuming"), f"{node.name} to take jobs")

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder

    def close(self) -> None:
        """Leaves nothing running."""
        for server in self._servers:
            server.close()
        self.redis.kill()
        running_postgres().drop_database(self.database_url)


@contextlib.contextmanager
def a_fleet(folder: Path, *, broker_url: str | None = None, **settings: str) -> Iterator[Fleet]:
    """Ended afterwards, whatever happens."""
    fleet = Fleet(folder, broker_url=broker_url, **settings)
    try:
        yield fleet
    finally:
        fleet.close()
