"""What every Nodes must do. A test module has the fixtures `store` (a JobStore) and `nodes` over the same data."""

import time
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from danqing.core.ports import JobStore
from danqing.core.shared_store import Node, Nodes, worker_of_node
from danqing.core.types import DeviceStatus, Job, JobFailure, ModelStatus, WorkerState, WorkerStatus
from tests.contracts.job_store import generated
from tests.fakes.domain import LOST, NO_LIMIT, NOW, a_job, an_original, later

LONG_S = 600.0
SHORT_S = 0.02
DEADLINE_S = 30.0
A_WORKER = WorkerStatus(
    id="cuda-0",
    state=WorkerState.BUSY,
    pid=123,
    restarts=2,
    models=("tiny", "other"),
    device_id="cuda:0",
    device=DeviceStatus(
        id="cuda:0",
        name="显卡 \u0000",
        kind="cuda",
        memory_total_bytes=2**40,
        models=("tiny",),
        loaded=(
            ModelStatus(
                id="tiny",
                placement="whole",
                precision="native",
                dtype="bfloat16",
                attention="native",
                compiled=False,
                vae="fp32",
                step_cache=True,
            ),
        ),
    ),
    failure=JobFailure(code="worker_lost", message="lost", retryable=True),
)


def a_node(name: str, number: int = 1, **changes: Any) -> Node:  # noqa: ANN401 - fields of the dataclass
    """The start of that number on the machine of that name."""
    return replace(Node(id=f"{name}-{number}", name=name, started_at=NOW), **changes)


async def held_by(store: JobStore, node: Node, **changes: object) -> Job:
    """A job that a worker of the node has claimed."""
    worker = worker_of_node(node.id, "cuda-0")
    job = await store.claim((await store.add(a_job(**changes), NO_LIMIT)).id, worker, later())
    assert job is not None
    return job


async def ids_alive(nodes: Nodes) -> list[str]:
    """Those whose lease is good."""
    return [node.id for node in await nodes.alive()]


class NodesContract:
    """The suite."""

    implementation: ClassVar[type]

    def test_is_the_implementation_meant(self, nodes: Nodes) -> None:
        assert type(nodes) is self.implementation

    def test_a_workers_own_name_has_no_slash(self) -> None:
        assert worker_of_node("a/b-1", "cuda-0") == "a/b-1/cuda-0"
        with pytest.raises(ValueError, match="slash"):
            worker_of_node("a", "b/c")

    # Leases

    async def test_a_node_that_beats_lives_as_it_says(self, nodes: Nodes) -> None:
        # Given two nodes, one of which tells all that there is to tell
        whole = a_node("b", workers=(A_WORKER, replace(A_WORKER, device=None, failure=None, pid=None)))
        for node in (whole, a_node("a", 2), a_node("a", 1)):
            assert not await nodes.beat(node, lease_s=LONG_S)
        # Then they are there as they are, by name
        assert await nodes.alive() == [a_node("a", 1), a_node("a", 2), whole]
        # And as they last said
        await nodes.beat(replace(whole, workers=(), draining=True), lease_s=LONG_S)
        assert (await nodes.alive())[-1] == replace(whole, workers=(), draining=True)

    async def test_a_lease_ends_and_can_be_taken_again(self, nodes: Nodes) -> None:
        await nodes.beat(a_node("a"), lease_s=SHORT_S)
        await nodes.beat(a_node("b"), lease_s=LONG_S)
        until = time.monotonic() + DEADLINE_S
        while await ids_alive(nodes) != ["b-1"]:
            assert time.monotonic() < until
        await nodes.beat(a_node("a"), lease_s=LONG_S)
        assert await ids_alive(nodes) == ["a-1", "b-1"]

    async def test_who_leaves_is_gone_at_once(self, nodes: Nodes) -> None:
        await nodes.beat(a_node("a"), lease_s=LONG_S)
        await nodes.leave("a-1")
        await nodes.leave("a-1")
        await nodes.leave("nobody")
        assert await ids_alive(nodes) == []

    async def test_those_of_a_name_are_asked_to_drain_and_hear_it_at_their_next_beat(self, nodes: Nodes) -> None:
        # Given two nodes of one name, one of another, and one that is gone
        for node in (a_node("a", 1), a_node("a", 2), a_node("b"), a_node("a", 3)):
            await nodes.beat(node, lease_s=LONG_S)
        await nodes.leave("a-3")
        # When the name is asked to drain, or an id, then they hear it, and it is seen of them
        assert await nodes.ask_to_drain("nobody") == 0
        assert await nodes.ask_to_drain("a") == 2
        assert [await nodes.beat(node, lease_s=LONG_S) for node in (a_node("a", 1), a_node("a", 2), a_node("b"))] == [
            True,
            True,
            False,
        ]
        assert [node.draining for node in await nodes.alive()] == [True, True, False]
        assert await nodes.ask_to_drain("b-1") == 1
        assert await nodes.beat(a_node("b"), lease_s=LONG_S)
        # And one that is started anew is not asked
        assert not await nodes.beat(a_node("a", 4), lease_s=LONG_S)

    # Jobs

    async def test_jobs_of_the_living_are_no_orphans_and_those_of_the_dead_are(
        self, store: JobStore, nodes: Nodes
    ) -> None:
        # Given two nodes with a job each, one that nobody ever heard of, and jobs that are nobody's to hold
        living, dead = a_node("a"), a_node("b")
        for node in (living, dead):
            await nodes.beat(node, lease_s=LONG_S)
        kept, orphan = await held_by(store, living), await held_by(store, dead)
        making_more = await held_by(store, dead)
        making_more = await store.generate(making_more.id, 1, [an_original(making_more)], [])
        unheard_of = await generated(store)  # of a worker that is of no node
        await store.add(a_job(), NO_LIMIT)
        ended = await held_by(store, dead)
        await store.complete(ended.id, 1, [an_original(ended)], [], later())
        assert await nodes.orphans() == [unheard_of]
        # When one of the nodes leaves, then its jobs are orphans, oldest first, as they are
        await nodes.leave(dead.id)
        assert await nodes.orphans() == [orphan, making_more, unheard_of]
        assert await nodes.orphans(most=2) == [orphan, making_more]
        # And given back they are none any more, and belong to whoever claims them next
        await store.give_back(orphan.id, 1, LOST, later())
        await store.claim(orphan.id, worker_of_node(living.id, "w"), later())
        assert await nodes.orphans(most=1) == [making_more]
        assert await nodes.held(living.id) == {kept.id: 1, orphan.id: 2}

    async def test_a_node_whose_id_begins_like_anothers_is_another(self, store: JobStore, nodes: Nodes) -> None:
        await nodes.beat(a_node("a/b"), lease_s=LONG_S)
        await nodes.beat(a_node("a", 11), lease_s=LONG_S)
        orphan, held = await held_by(store, a_node("a", 1)), await held_by(store, a_node("a/b"))
        assert await nodes.orphans() == [orphan]
        assert await nodes.held("a/b-1") == {held.id: 1}
        assert await nodes.held("a") == {}

    async def test_attempts_that_have_been_overtaken_are_told(self, store: JobStore, nodes: Nodes) -> None:
        # Given a node's jobs, of which some are cancelled, or given to others, or have ended
        node = a_node("a")
        same, made, cancelled, given, ended = [await held_by(store, node) for _ in range(5)]
        await store.generate(made.id, 1, [an_original(made)], [])
        await store.cancel(cancelled.id, later())
        await store.give_back(given.id, 1, LOST, later())
        await store.fail(ended.id, 1, LOST, later())
        known = {job.id: 1 for job in (same, made, cancelled, given, ended)}
        # Then these are told, and what nobody knows
        assert set(await nodes.outdated({**known, "nobody": 1})) == {cancelled.id, given.id, ended.id, "nobody"}
        # And still so when another one is at it
        await store.claim(given.id, "others/w", later())
        assert given.id in await nodes.outdated(known)
        assert await nodes.outdated({given.id: 2}) == []
        assert await nodes.outdated({}) == []
        assert await nodes.outdated({f"nobody-{n}": 1 for n in range(1200)} | {same.id: 1}) == [
            f"nobody-{n}" for n in range(1200)
        ]
