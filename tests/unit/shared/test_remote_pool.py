"""The workers of all nodes, seen from an API process."""

from collections.abc import Sequence

from danqing.core.errors import StorageFailure
from danqing.core.shared_store import Node
from danqing.core.types import DeviceStatus, WorkerState, WorkerStatus
from danqing.dialects.genserve.translate_out import from_status, gpu_of
from danqing.shared.remote_pool import RemotePool
from tests.fakes.domain import NOW, a_job
from tests.fakes.job_store import InMemoryJobStore
from tests.fakes.shared_store import InMemoryNodes


def a_node(node_id: str, *, state: WorkerState = WorkerState.READY, named: str = "") -> Node:
    """With one worker, on the first GPU of its machine."""
    device = DeviceStatus(id="cuda:0", name=f"the card of {node_id}", kind="cuda")
    worker = WorkerStatus(id=f"{named}w1", state=state, pid=4, restarts=0, models=("tiny",), device=device)
    return Node(id=node_id, name=node_id, started_at=NOW, workers=(worker,))


class House:
    """A pool over nodes in memory; `said` is what it told them."""

    def __init__(self, *, keep_s: float = 30.0) -> None:
        self.store = InMemoryJobStore()
        self.nodes = FailingNodes(self.store)
        self.said: list[tuple[str, str]] = []
        self.pool = RemotePool(self.nodes, stop_job=self._stop, send_previews=self._previews, keep_s=keep_s)

    async def _stop(self, job_id: str) -> None:
        self.said.append(("stop", job_id))

    async def _previews(self, job_id: str) -> None:
        self.said.append(("previews", job_id))


class FailingNodes(InMemoryNodes):
    """Their store fails if it is told to."""

    failing = False

    async def alive(self) -> Sequence[Node]:
        if self.failing:
            raise StorageFailure
        return await super().alive()


async def test_the_first_gpus_of_two_machines_stay_two() -> None:
    # Given two nodes that both call theirs cuda:0, one of which calls its workers by the node already
    house = House()
    await house.nodes.beat(a_node("m1-aa"), lease_s=9)
    await house.nodes.beat(a_node("m2-bb", named="m2-bb/", state=WorkerState.STARTING), lease_s=9)
    # When the pool looks
    assert house.pool.status().workers == ()
    await house.pool.look()
    # Then it has both
    status = house.pool.status()
    assert [worker.id for worker in status.workers] == ["m1-aa/w1", "m2-bb/w1"]
    assert (status.model_loaded, status.elsewhere) == (True, True)
    # And a client that asks is told of both
    told = from_status(status, waiting=0, draining=False).workers
    assert [(entry.worker_id, entry.device_name) for entry in told] == [
        ("m1-aa/w1", "the card of m1-aa"),
        ("m2-bb/w1", "the card of m2-bb"),
    ]
    # And the maker of a job is found by what its attempt calls it
    job = await house.store.add(a_job(), 9)
    taken = await house.store.claim(job.id, "m2-bb/w1", NOW)
    assert taken is not None
    assert gpu_of(taken, status) == "cuda:0"


async def test_a_node_that_is_gone_is_not_shown() -> None:
    house = House()
    await house.nodes.beat(a_node("m1-aa"), lease_s=9)
    await house.pool.look()
    await house.nodes.leave("m1-aa")
    await house.pool.look()
    assert house.pool.status().workers == ()
    # Jobs are accepted all the same: they wait for the next one
    assert house.pool.status().accepts_jobs


async def test_a_store_that_is_away_is_believed_for_a_while() -> None:
    for keep_s, workers in ((30.0, 1), (0.0, 0)):
        house = House(keep_s=keep_s)
        await house.nodes.beat(a_node("m1-aa"), lease_s=9)
        await house.pool.look()
        house.nodes.failing = True
        await house.pool.look()
        assert (len(house.pool.status().workers), house.pool.status().is_ready) == (workers, workers == 1)
        house.nodes.failing = False
        await house.pool.look()
        assert (len(house.pool.status().workers), house.pool.status().is_ready) == (1, True)


async def test_what_concerns_a_job_is_said_to_all_nodes() -> None:
    house = House()
    await house.pool.stop_job("a")
    await house.pool.send_previews("b")
    assert house.said == [("stop", "a"), ("previews", "b")]
