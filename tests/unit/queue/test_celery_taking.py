"""What becomes of a message in a node, told without a broker: `deliver` is called as Celery's threads call it."""

import asyncio
from pathlib import Path

import pytest

from danqing.core.errors import StorageFailure
from danqing.queue.celery_taking import CeleryTaking, TakingRules
from tests.contracts.job_queue import SOON_S, numbered
from tests.fakes.line import InMemoryLine
from tests.fakes.studio_parts import RecordingQueue
from tests.zoo.house import until

LONG_S = 3600.0


class Desk:
    """A taking end, and what Celery's threads are told."""

    def __init__(self, *, patience_s: float = LONG_S, max_running_of_owner: int | None = None) -> None:
        self.line, self.sent = InMemoryLine(), RecordingQueue()
        self.may_take = True
        rules = TakingRules(max_running_of_owner=max_running_of_owner, max_passes=1, patience_s=patience_s)
        self.taking = CeleryTaking(line=self.line, publisher=self.sent, rules=rules, may_take=lambda: self.may_take)

    def message(self, model: str, job_id: str) -> "asyncio.Task[bool]":
        """One has come; the task ends when it may go, with True if it is done with."""
        return asyncio.create_task(asyncio.to_thread(self.taking.deliver, model, job_id))

    async def take(self, *models: str, taker: str = "a", warm: tuple[str, ...] = ()) -> str:
        """The next job, claimed."""
        job_id = await asyncio.wait_for(self.taking.take(models or ("tiny",), warm=warm, taker=taker), SOON_S)
        assert self.line.claim(job_id)
        return job_id


async def test_a_message_that_nobody_takes_goes_back() -> None:
    desk = Desk(patience_s=0.01)
    desk.line.put(numbered(1))
    assert await asyncio.wait_for(desk.message("tiny", "job-1"), SOON_S) is False


async def test_a_message_is_kept_until_its_taker_comes_back() -> None:
    # Given two jobs, and one who has taken the first
    desk = Desk()
    desk.line.put(numbered(1))
    desk.line.put(numbered(2))
    first = desk.message("tiny", "job-1")
    assert await desk.take() == "job-1"
    assert not first.done()
    # When he comes for the next, then the message of the one before may go
    second = desk.message("tiny", "job-2")
    assert await desk.take() == "job-2"
    assert await first is True
    # And so it may when its job is done, if that comes first
    desk.taking.done("job-2", taker="a")
    assert await second is True


async def test_a_message_that_finds_nothing_to_do_may_go() -> None:
    desk = Desk()
    looking = asyncio.create_task(desk.take())
    assert await asyncio.wait_for(desk.message("tiny", "job-9"), SOON_S) is True
    assert not looking.done()
    looking.cancel()


async def test_who_loses_a_job_to_another_node_gets_the_one_that_his_message_names() -> None:
    # Given three jobs, and a message for the third
    desk = Desk()
    for number in (1, 2, 3):
        desk.line.put(numbered(number))
    message = desk.message("tiny", "job-3")
    assert await desk.taking.take(("tiny",), taker="a") == "job-1"
    # When another node was quicker with the first
    assert desk.line.claim("job-1")
    desk.taking.missed("job-1", taker="a")
    # Then the message, which stands for a job that still waits, is not lost
    assert await desk.take() == "job-3"
    assert not message.done()
    desk.taking.close()
    assert await message is False


async def test_two_takers_of_a_node_are_told_two_jobs() -> None:
    # Given two jobs with their messages, and one who was told the first, and has not claimed it yet
    desk = Desk()
    desk.line.put(numbered(1))
    desk.line.put(numbered(2))
    messages = [desk.message("tiny", "job-1"), desk.message("tiny", "job-2")]
    assert await desk.taking.take(("tiny",), taker="a") == "job-1"
    # Then the next one is told the second
    assert await asyncio.wait_for(desk.taking.take(("tiny",), taker="b"), SOON_S) == "job-2"
    desk.taking.close()
    assert await asyncio.gather(*messages) == [False, False]


@pytest.mark.parametrize("done_first", [False, True])
async def test_who_loses_a_job_to_another_taker_of_his_node_leaves_that_ones_message_alone(done_first: bool) -> None:
    # Given two jobs with their messages, and two takers who were told the first, for its claim took long
    desk = Desk()
    desk.line.put(numbered(1))
    messages = {"job-1": desk.message("tiny", "job-1")}
    assert await desk.taking.take(("tiny",), taker="a") == "job-1"
    messages["job-2"] = desk.message("tiny", "job-2")
    assert await asyncio.wait_for(desk.taking.take(("tiny",), taker="b"), SOON_S) == "job-1"
    assert desk.line.claim("job-1")
    desk.line.put(numbered(2))
    # When the one makes it, and the other hears that he has lost it, whichever comes first
    try:
        if done_first:
            desk.taking.done("job-1", taker="a")
        desk.taking.missed("job-1", taker="b")
        assert desk.taking.waiting == 1
        if not done_first:
            desk.taking.done("job-1", taker="a")
        # Then the first one's message is done with, and the second one's still stands for its job
        assert await asyncio.wait_for(asyncio.shield(messages["job-1"]), SOON_S) is True
        assert not messages["job-2"].done()
        assert await desk.take(taker="b") == "job-2"
    finally:
        desk.taking.close()
    assert await messages["job-2"] is False


async def test_nothing_is_taken_while_a_claim_would_not_hold() -> None:
    # Given a node whose lease may be over
    desk = Desk()
    desk.may_take = False
    desk.line.put(numbered(1))
    looking = asyncio.create_task(desk.take())
    # Then messages go back
    assert await asyncio.wait_for(desk.message("tiny", "job-1"), SOON_S) is False
    assert len(desk.line) == 1
    # Until it holds
    desk.may_take = True
    message = desk.message("tiny", "job-1")
    assert await looking == "job-1"
    desk.taking.done("job-1", taker="a")
    assert await message is True


async def test_a_message_goes_back_while_the_store_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a store that is away
    desk = Desk()
    desk.line.put(numbered(1))
    asked: list[str] = []

    async def fail(model: str, named: str, **_: object) -> str | None:
        asked.append(model)
        raise StorageFailure

    monkeypatch.setattr(desk.line, "next", fail)
    looking = asyncio.create_task(desk.take())
    assert await asyncio.wait_for(desk.message("tiny", "job-1"), SOON_S) is False
    assert asked == ["tiny"]
    # When it is back, then the next one is served
    monkeypatch.undo()
    message = desk.message("tiny", "job-1")
    assert await looking == "job-1"
    desk.taking.close()
    await message


async def test_a_message_of_another_model_than_the_job_comes_again() -> None:
    # Given a job of another model that goes before the one whose message has come
    desk = Desk()
    desk.line.put(numbered(1, model="large"))
    desk.line.put(numbered(2))
    message = desk.message("tiny", "job-2")
    assert await desk.take("tiny", "large") == "job-1"
    # When that one is done, then the message still stands for its own
    desk.taking.done("job-1", taker="a")
    assert await message is False


async def test_a_take_that_is_cancelled_while_it_asks_leaves_the_message_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given one who is cancelled while the store is asked
    desk = Desk()
    desk.line.put(numbered(1))
    asked = asyncio.Event()

    async def never(model: str, named: str, **_: object) -> str | None:
        asked.set()
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(desk.line, "next", never)
    first = asyncio.create_task(desk.taking.take(("tiny",), taker="a"))
    message = desk.message("tiny", "job-1")
    await asyncio.wait_for(asked.wait(), SOON_S)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    monkeypatch.undo()
    # Then the next one has it
    assert await desk.take(taker="b") == "job-1"
    desk.taking.close()
    await message


async def test_a_job_that_was_taken_and_cannot_be_made_here_goes_back_with_its_message() -> None:
    # Given a job that was taken, for a worker that is gone by now
    desk = Desk()
    job = numbered(1)
    desk.line.put(job)
    message = desk.message("tiny", "job-1")
    assert await desk.taking.take(("tiny",), taker="a") == "job-1"
    # When it is published again, then no second message is sent
    await desk.taking.publish(job)
    assert await message is False
    assert desk.sent.ids == []
    # But one that came to nothing later needs one
    await desk.taking.publish(job)
    assert desk.sent.ids == ["job-1"]


async def test_where_owners_have_limits_the_end_of_a_job_sends_for_the_next() -> None:
    for most, sent in ((None, []), (1, ["job-2"])):
        desk = Desk(max_running_of_owner=most)
        desk.line.put(numbered(2))
        await desk.taking.settled(numbered(1))
        assert desk.sent.ids == sent


async def test_after_closing_everything_goes_back() -> None:
    # Given a message that waits, and one whose job was taken
    desk = Desk()
    desk.line.put(numbered(1))
    held = desk.message("tiny", "job-1")
    assert await desk.take() == "job-1"
    waiting = desk.message("large", "job-2")
    await until(lambda: desk.taking.waiting == 1, "a message that waits")
    # When it closes
    desk.taking.close()
    # Then both go back, and so does whatever still comes
    assert await asyncio.gather(held, waiting) == [False, False]
    assert await asyncio.wait_for(desk.message("tiny", "job-3"), SOON_S) is False


def test_a_message_for_a_loop_that_has_ended_goes_back(tmp_path: Path) -> None:
    async def make() -> CeleryTaking:
        return Desk().taking

    taking = asyncio.run(make())
    assert taking.deliver("tiny", "job-1") is False
