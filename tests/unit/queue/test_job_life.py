"""Jobs' lives over the stores in a database and the queue inside the server."""

from hypothesis import HealthCheck, settings

from danqing.core.ports import JobStore
from danqing.queue.embedded import EmbeddedQueue
from danqing.store.postgres import PostgresStores
from danqing.store.sqlite import SqliteStores
from danqing.workers.claims import TakingQueue
from tests.contracts.job_life import JobLife
from tests.services.postgres import running_postgres


class EmbeddedLife(JobLife):
    """One start after the other on one file."""

    stores: SqliteStores | PostgresStores

    def open(self) -> None:
        self.stores = SqliteStores.open(self.path / "danqing.db")
        self.ids = EmbeddedQueue()

    def close(self) -> None:
        self.run(self.stores.close())

    @property
    def store(self) -> JobStore:
        return self.stores.jobs

    @property
    def queue(self) -> TakingQueue:
        return self.ids

    def waiting(self) -> int:
        return len(self.ids)


class PostgresLife(EmbeddedLife):
    """One start after the other on one database."""

    url: str | None = None

    def open(self) -> None:
        self.url = self.url or running_postgres().new_database()
        self.stores = PostgresStores.open(self.url)
        self.ids = EmbeddedQueue()

    def teardown(self) -> None:
        super().teardown()
        running_postgres().drop_database(str(self.url))


TestEmbeddedLife = EmbeddedLife.TestCase
TestEmbeddedLife.settings = settings(
    max_examples=6, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)
TestPostgresLife = PostgresLife.TestCase
TestPostgresLife.settings = settings(
    max_examples=4, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)
