"""What dead nodes and lost messages leave behind, found again."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from danqing.core.errors import StorageFailure
from danqing.core.shared_store import Node, Waiting, worker_of_node
from danqing.core.states import JobState
from danqing.core.types import Job, WorkerState, WorkerStatus
from danqing.workers.sweeper import Sweeper, SweepRules
from tests.fakes.domain import NO_LIMIT, a_job, a_request, later
from tests.fakes.job_store import InMemoryJobStore
from tests.fakes.shared_store import InMemoryJobLine, InMemoryNodes
from tests.fakes.studio_parts import RecordingQueue
from tests.unit.workers.test_settlement import a_settlement

LEASE_S, SILENCE_S = 15.0, 6.0


class Set:
    """A sweeper over a store in memory. depths: messages in the broker, by model; None: it does not answer."""

    def __init__(self, folder: Path, *, rules: SweepRules | None = None) -> None:
        self.now = 0.0
        self.store = InMemoryJobStore()
        self.line = InMemoryJobLine(self.store)
        self.nodes = InMemoryNodes(self.store, clock=lambda: self.now)
        self.queue = RecordingQueue()
        self.depths: dict[str, int] | None = {}
        self.others_sweep = False
        self.asked = 0
        self.broker_thinks: Callable[[], object] = lambda: None
        self.held: str | None = None
        self.pauses: list[float] = []
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.sweeper = Sweeper(
            nodes=self.nodes,
            line=self.line,
            queue=self.queue,
            settlement=a_settlement(self.store, self.queue, folder),
            depths=self._depths,
            exclusive=self._exclusive,
            rules=rules,
            pause=self._pause,
            clock=lambda: self.now,
        )

    async def _pause(self, seconds: float) -> None:
        assert self.held is None, "a process that stands still here must not keep others from it"
        self.pauses.append(seconds)
        if self.meanwhile is not None:
            await self.meanwhile()

    def _depths(self, models: Collection[str]) -> Mapping[str, int] | None:
        self.asked += 1
        self.broker_thinks()
        return None if self.depths is None else {model: self.depths.get(model, 0) for model in models}

    @asynccontextmanager
    async def _exclusive(self, name: str) -> AsyncGenerator[bool]:
        assert self.held is None, "two locks at once"
        self.held = name
        try:
            yield not self.others_sweep
        finally:
            self.held = None

    async def sweep_twice(self) -> None:
        """With the silence that makes an orphan of a suspect in between."""
        await self.sweeper.try_to_sweep()
        self.now += SILENCE_S
        await self.sweeper.try_to_sweep()

    async def running_on(self, node_id: str) -> Job:
        """A job that a worker of this node, which just lives, has claimed."""
        await self.nodes.beat(Node(id=node_id, name=node_id, started_at=later()), lease_s=LEASE_S)
        job = await self.store.add(a_job(), NO_LIMIT)
        claimed = await self.store.claim(job.id, worker_of_node(node_id, "cpu"), later())
        assert claimed is not None
        return claimed


@pytest.fixture
def house(tmp_path: Path) -> Set:
    return Set(tmp_path)


async def test_what_a_dead_node_held_is_given_back_and_sent_again(house: Set) -> None:
    # Given a job of a node that dies, and one of a node that lives
    lost, held = await house.running_on("dead"), await house.running_on("living")
    await house.sweeper.sweep()
    assert house.queue.ids == []
    house.now += LEASE_S + 1
    await house.nodes.beat(Node(id="living", name="living", started_at=later()), lease_s=LEASE_S)
    # When somebody sweeps, and again when the silence has gone on
    await house.sweeper.sweep()
    house.now += SILENCE_S - 0.1
    await house.sweeper.sweep()
    assert (await house.store.get(lost.id)).state is JobState.PROCESSING
    house.now += 0.1
    await house.sweeper.sweep()
    # Then the one waits again, for no fault of its own, and the other is left alone
    given_back = await house.store.get(lost.id)
    assert given_back.state is JobState.PENDING
    assert given_back.attempts[0].failure is not None
    assert given_back.attempts[0].failure.code == "server_restarted"
    assert house.queue.ids == [lost.id]
    assert (await house.store.get(held.id)).state is JobState.PROCESSING


async def test_a_node_that_says_after_all_that_it_lives_keeps_its_jobs(house: Set) -> None:
    # Given nodes of which none has said anything for longer than a lease, for the store was away
    held, lost = await house.running_on("slow"), await house.running_on("dead")
    house.now += LEASE_S + 1

    await house.sweeper.sweep()
    # When one of them says so before the sweeper looks again
    await house.nodes.beat(Node(id="slow", name="slow", started_at=later()), lease_s=LEASE_S)
    house.now += SILENCE_S
    await house.sweeper.sweep()
    # Then only the other one's job is given back
    assert (await house.store.get(held.id)).state is JobState.PROCESSING
    assert (await house.store.get(lost.id)).state is JobState.PENDING


async def test_silence_is_counted_anew_after_a_failure_of_the_store(
    house: Set, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a suspect, and a store that is away until long after
    held = await house.running_on("slow")
    house.now += LEASE_S + 1
    await house.sweeper.try_to_sweep()

    async def fail() -> Sequence[Node]:
        raise StorageFailure

    with monkeypatch.context() as away:
        away.setattr(house.nodes, "alive", fail)
        await house.sweeper.try_to_sweep()
    house.now += 10 * SILENCE_S
    # When it is back, then its silence is not held against a node
    await house.sweeper.try_to_sweep()
    assert (await house.store.get(held.id)).state is JobState.PROCESSING
    await house.sweep_twice()
    assert (await house.store.get(held.id)).state is JobState.PENDING


async def test_a_broker_that_hangs_delays_no_orphan(tmp_path: Path) -> None:
    # Given an orphan, a job that waits, and a broker that says nothing
    house = Set(tmp_path, rules=SweepRules(answer_s=0.01))
    lost = await house.running_on("dead")
    await house.store.add(a_job(), NO_LIMIT)
    house.now += LEASE_S + 1
    answers = threading.Event()
    house.broker_thinks = answers.wait
    # When somebody sweeps, then the orphan is given back, and the broker is asked once
    try:
        await house.sweep_twice()
        await house.sweeper.try_to_sweep()
    finally:
        answers.set()
    assert (await house.store.get(lost.id)).state is JobState.PENDING
    assert house.asked == 1
    assert house.queue.ids == [lost.id]


async def test_messages_that_go_on_lacking_are_sent_again_and_no_more_than_lack(house: Set) -> None:
    # Given three jobs that wait, and one message; and a model of which none lacks
    jobs = [await house.store.add(a_job(), NO_LIMIT) for _ in range(3)]
    await house.store.add(a_job(request=a_request(model="large")), NO_LIMIT)
    house.depths = {"tiny": 1, "large": 1}
    # When somebody sweeps
    await house.sweeper.sweep()
    # Then two are sent, those that are to be taken first
    assert house.queue.ids == [job.id for job in jobs[:2]]


async def test_messages_that_come_meanwhile_do_not_lack(house: Set) -> None:
    # Given two jobs without messages, one of which was just on its way
    first, _ = [await house.store.add(a_job(), NO_LIMIT) for _ in range(2)]

    async def one_comes() -> None:
        house.depths = {"tiny": 1}

    house.meanwhile = one_comes
    await house.sweeper.sweep()
    assert house.queue.ids == [first.id]


async def test_what_is_sent_again_lacks_by_what_waits_now(house: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a figure that is some seconds old, and tells of two jobs more than wait by now
    first = await house.store.add(a_job(), NO_LIMIT)
    await house.store.add(a_job(), NO_LIMIT)
    old = {"tiny": Waiting(jobs=4, oldest=first.created_at)}

    async def waiting() -> Mapping[str, Waiting]:
        return old

    monkeypatch.setattr(house.line, "waiting", waiting)
    # When each of those that wait has a message, then none is sent
    house.depths = {"tiny": 2}
    await house.sweeper.sweep()
    assert house.queue.ids == []
    # And when one has none, then one is
    house.depths = {"tiny": 1}
    await house.sweeper.sweep()
    assert house.queue.ids == [first.id]


async def test_a_broker_that_does_not_answer_says_nothing_of_what_lacks(house: Set) -> None:
    # Given a job without a message, and a broker that does not answer
    job = await house.store.add(a_job(), NO_LIMIT)
    house.depths = None
    await house.sweeper.sweep()
    assert house.queue.ids == []
    # When it answers once, and then does not, then nobody knows
    house.depths = {}

    async def it_goes() -> None:
        house.depths = None

    house.meanwhile = it_goes
    await house.sweeper.sweep()
    assert house.queue.ids == []
    house.depths, house.meanwhile = {}, None
    await house.sweeper.sweep()
    assert house.queue.ids == [job.id]


async def test_one_sweep_sends_a_limited_number(tmp_path: Path) -> None:
    house = Set(tmp_path, rules=SweepRules(most_sent=2))
    for _ in range(5):
        await house.store.add(a_job(), NO_LIMIT)
    await house.sweeper.sweep()
    assert len(house.queue.ids) == 2


async def test_only_one_process_sweeps_at_a_time(house: Set) -> None:
    # Given an orphan, and somebody else who sweeps
    lost = await house.running_on("dead")
    house.now += LEASE_S + 1
    house.others_sweep = True
    await house.sweep_twice()
    assert (await house.store.get(lost.id)).state is JobState.PROCESSING
    # When he does not any more
    house.others_sweep = False
    await house.sweeper.sweep()
    assert (await house.store.get(lost.id)).state is JobState.PENDING


@pytest.mark.parametrize(("longest_s", "least", "most"), [(1000.0, 100, 300), (15.0, 7.5, 22.5), (2.0, 1, 3)])
async def test_the_more_there_are_the_less_often_each_sweeps_and_failures_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longest_s: float, least: float, most: float
) -> None:
    # Given ninety-nine nodes
    house = Set(tmp_path, rules=SweepRules(longest_s=longest_s))
    for number in range(99):
        await house.nodes.beat(Node(id=f"n{number}", name="n", started_at=later()), lease_s=LEASE_S)
    sweeps: list[int] = []

    async def stop_after_three() -> None:
        sweeps.append(1)
        if len(sweeps) == 1:  # from now on the store fails
            monkeypatch.setattr(house.line, "waiting", fail)
        if len(sweeps) == 3:
            raise asyncio.CancelledError

    async def fail() -> Mapping[str, Waiting]:
        raise StorageFailure

    # When a sweeper runs
    house.meanwhile = stop_after_three
    with pytest.raises(asyncio.CancelledError):
        await house.sweeper.run()
    # Then it waits so long that all together sweep every two seconds, or as long as it may, and failures end nothing
    assert len(house.pauses) == 3
    assert all(least <= pause <= most for pause in house.pauses)


async def test_a_suspect_is_looked_at_again_soon_however_many_there_are(tmp_path: Path) -> None:
    # Given many nodes, of which one has been silent for longer than its lease
    house = Set(tmp_path, rules=SweepRules(longest_s=1000.0))
    lost = await house.running_on("dead")
    house.now += LEASE_S + 1
    for number in range(99):
        await house.nodes.beat(Node(id=f"n{number}", name="n", started_at=later()), lease_s=LEASE_S)

    async def time_goes_by() -> None:
        house.now += house.pauses[-1]
        if len(house.pauses) == 2:
            raise asyncio.CancelledError

    # When a sweeper runs, then it gives the job back when the silence has gone on, and not turns later
    house.meanwhile = time_goes_by
    with pytest.raises(asyncio.CancelledError):
        await house.sweeper.run()
    assert house.pauses[0] == SILENCE_S
    assert (await house.store.get(lost.id)).state is JobState.PENDING


async def test_jobs_that_no_node_can_make_are_told_of_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a job of a model that a node has, and one of a model that none has any more
    house = Set(tmp_path, rules=SweepRules(tells=True))
    worker = WorkerStatus(id="n/cpu", state=WorkerState.STARTING, pid=1, restarts=0, models=("tiny",))
    node = Node(id="n", name="n", started_at=later(), workers=(worker,))
    await house.nodes.beat(node, lease_s=LEASE_S)
    await house.store.add(a_job(), NO_LIMIT)
    gone = await house.store.add(a_job(request=a_request(model="gone")), NO_LIMIT)
    # When somebody sweeps, and again, then it is told once
    for _ in range(2):
        await house.sweeper.sweep()
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "no_node_for_jobs" in line]
    assert "gone" in told
    assert "tiny" not in told
    # And nothing is done to it
    assert (await house.store.get(gone.id)).state is JobState.PENDING
