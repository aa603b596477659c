"""Jobs' lives over the SQLite store and the queue inside the server."""

from hypothesis import HealthCheck, settings

from danqing.core.ports import JobStore
from danqing.queue.embedded import EmbeddedQueue
from danqing.store.sqlite import SqliteStores
from danqing.workers.claims import TakingQueue
from tests.contracts.job_life import JobLife


class EmbeddedLife(JobLife):
    """One start after the other on one file."""

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


TestEmbeddedLife = EmbeddedLife.TestCase
TestEmbeddedLife.settings = settings(
    max_examples=6, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)
