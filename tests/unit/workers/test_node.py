"""A node's beats: what it says of itself, and what it hears of its jobs. Over real workers."""

import asyncio
import gc
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from danqing.core.errors import StorageFailure
from danqing.core.shared_store import Node
from danqing.core.states import JobState
from danqing.core.types import Job, WorkerState
from danqing.workers import node as module
from danqing.workers.node import NodeIdentity, NodeLife, new_node_id
from tests.fakes.domain import LOST, NOW, later
from tests.zoo.house import House, a_house, until

LEASE_S = 15.0


class ToldNodes:
    """Says what a test tells it to, and remembers what it was told."""

    def __init__(self) -> None:
        self.beats: list[Node] = []
        self.left: list[str] = []
        self.drain = False
        self.away = False
        self.moved_on: list[str] = []
        self.holds: dict[str, int] = {}
        self.fails_late = False
        self.stores = asyncio.Event()  # a beat is stored once it is set
        self.stores.set()

    async def beat(self, node: Node, *, lease_s: float) -> bool:
        if self.away:
            raise StorageFailure
        assert lease_s == LEASE_S
        await asyncio.shield(asyncio.create_task(self._store(node)))  # as in a database's thread
        return self.drain

    async def _store(self, node: Node) -> None:
        await self.stores.wait()
        if self.fails_late:
            raise StorageFailure
        self.beats.append(node)

    async def leave(self, node_id: str) -> None:
        if self.away:
            raise StorageFailure
        self.left.append(node_id)
        self.beats = [node for node in self.beats if node.id != node_id]

    async def alive(self) -> Sequence[Node]:
        raise NotImplementedError

    async def ask_to_drain(self, name: str) -> int:
        raise NotImplementedError

    async def orphans(self, *, most: int = 100) -> Sequence[Job]:
        raise NotImplementedError

    async def held(self, node_id: str) -> Mapping[str, int]:
        return dict(self.holds)

    async def outdated(self, attempts: Mapping[str, int]) -> Sequence[str]:
        return [job_id for job_id in attempts if job_id in self.moved_on]


def a_life(house: House, nodes: ToldNodes) -> NodeLife:
    identity = NodeIdentity(id="box-1", name="box", started_at=NOW, lease_s=LEASE_S)
    return NodeLife(identity, nodes=nodes, supervisor=house.supervisor, dispatcher=house.dispatcher)


@pytest.fixture
def nodes() -> ToldNodes:
    return ToldNodes()


def test_a_nodes_id_begins_with_its_name_and_is_never_the_same_again() -> None:
    first, second = new_node_id("big/box"), new_node_id("big/box")
    assert first.startswith("big-box-")
    assert first != second


async def test_a_beat_tells_of_the_workers_and_makes_the_lease_good(tmp_path: Path, nodes: ToldNodes) -> None:
    async with a_house(tmp_path) as house:
        # Given a node that has not said anything yet
        life = a_life(house, nodes)
        assert not life.holds_its_lease
        # When it beats
        await life.beat()
        # Then its lease is good, and others know its workers
        assert life.holds_its_lease
        (told,) = nodes.beats
        assert (told.id, told.name, told.started_at, told.draining) == ("box-1", "box", NOW, False)
        assert [worker.state for worker in told.workers] == [WorkerState.READY]
        # And nobody has asked it to drain, until somebody does
        assert not life.asked_to_drain.is_set()
        nodes.drain = life.draining = True
        await life.beat()
        assert life.asked_to_drain.is_set()
        assert nodes.beats[-1].draining


async def test_an_attempt_that_others_have_by_now_is_dropped_and_changes_nothing(
    tmp_path: Path, nodes: ToldNodes
) -> None:
    async with a_house(tmp_path) as house:
        # Given a job in the middle of its steps, which was given to another node meanwhile
        life = a_life(house, nodes)
        job = await house.submit("waits at the gate")
        await house.under_way(job)
        assert house.dispatcher.attempts() == {job.id: 1}
        assert (await house.store.give_back(job.id, 1, LOST, later())) is not None
        assert (await house.store.claim(job.id, "elsewhere/cpu", later())) is not None
        # When the node hears of it
        nodes.moved_on = [job.id]
        await life.beat()
        # Then it drops it, its worker is free, and the other one still has the job
        await until(lambda: not house.dispatcher.attempts(), "an attempt that is dropped")
        await until(lambda: house.worker().state is WorkerState.READY, "a free worker")
        now = await house.store.get(job.id)
        assert (now.state, now.attempts[-1].worker) == (JobState.PROCESSING, "elsewhere/cpu")


async def test_what_the_store_ascribes_to_a_node_that_knows_nothing_of_it_is_given_back(
    tmp_path: Path, nodes: ToldNodes
) -> None:
    async with a_house(tmp_path) as house:
        life = a_life(house, nodes)
        # Given a job that runs, and one whose claim was never answered
        runs = await house.submit("waits at the gate")
        await house.under_way(runs)
        lost = await house.submit("a tea pot")
        await house.queue.withdraw(lost.id)
        assert (await house.store.claim(lost.id, "box-1/w1", later())) is not None
        nodes.holds = {runs.id: 1, lost.id: 1}
        # When it is seen once, then it may just be on its way
        await life.beat()
        assert (await house.store.get(lost.id)).state is JobState.PROCESSING
        # And when it is seen again, then it is made all the same, and the other one goes on
        await life.beat()
        house.zoo.open_gate("gate")
        for job in (runs, lost):
            assert (await house.ended(job)).state is JobState.COMPLETED
        assert len((await house.store.get(runs.id)).attempts) == 1
        assert len((await house.store.get(lost.id)).attempts) == 2


async def test_a_store_that_is_away_is_asked_again(tmp_path: Path, nodes: ToldNodes) -> None:
    async with a_house(tmp_path) as house:
        # Given a store that is away when a node starts
        life = a_life(house, nodes)
        nodes.away = True
        living = asyncio.create_task(life.run())
        await asyncio.sleep(0)
        assert not life.holds_its_lease
        # When it is there, then the node says that it lives
        nodes.away = False
        await until(lambda: life.holds_its_lease, "a lease")
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
        # And it says so when it ends, or lets its lease end
        await life.leave()
        assert nodes.left == ["box-1"]
        nodes.away = True
        await life.leave()


async def test_a_worker_that_is_lost_is_told_before_the_next_beat_is_due(tmp_path: Path, nodes: ToldNodes) -> None:
    async with a_house(tmp_path) as house:
        # Given a node that has told of a worker that is ready
        life = a_life(house, nodes)
        living = asyncio.create_task(life.run())
        await until(lambda: len(nodes.beats) == 1, "a beat")
        # When it is there no more
        await house.dispatcher.stop(deadline_s=0)
        # Then the others need not wait for that
        await until(lambda: len(nodes.beats) > 1, "another beat")
        assert nodes.beats[-1].workers[0].state is not WorkerState.READY
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)


async def test_a_node_that_leaves_in_the_middle_of_a_beat_is_gone(tmp_path: Path, nodes: ToldNodes) -> None:
    async with a_house(tmp_path) as house:
        # Given a beat that is being stored when its node ends
        life = a_life(house, nodes)
        nodes.stores.clear()
        living = asyncio.create_task(life.run())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
        # When it says that it leaves
        leaving = asyncio.create_task(life.leave())
        await asyncio.sleep(0.01)
        nodes.stores.set()
        await leaving
        # Then no beat is left of it
        await asyncio.sleep(0.01)
        assert nodes.left == ["box-1"]
        assert nodes.beats == []


@pytest.mark.parametrize("comes", [True, False])
async def test_a_beat_that_fails_while_its_node_leaves_is_heeded_and_not_waited_for_long(
    tmp_path: Path, nodes: ToldNodes, monkeypatch: pytest.MonkeyPatch, comes: bool
) -> None:
    monkeypatch.setattr(module, "_LAST_BEAT_S", 60.0 if comes else 0.01)
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with a_house(tmp_path) as house:
        # Given a node that ends while a store that is away has a beat
        life = a_life(house, nodes)
        nodes.fails_late = True
        nodes.stores.clear()
        living = asyncio.create_task(life.run())
        await asyncio.sleep(0.01)
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
        # When it says that it leaves, and the beat fails then, or later
        leaving = asyncio.create_task(life.leave())
        await asyncio.sleep(0.05)
        if comes:
            nodes.stores.set()
        await leaving
        nodes.stores.set()
        await asyncio.sleep(0.01)
        # Then it has left if it could, and nothing was heard of by nobody
        assert nodes.left == (["box-1"] if comes else [])
    del living, leaving, life
    gc.collect()
    assert complaints == []
