"""What becomes of a message in a node, told without a broker: `deliver` is called as Celery's threads call it."""

import asyncio
from datetime import datetime
from pathlib import Path

import pytest

from danqing.core.errors import StorageFailure
from danqing.core.types import Job
from danqing.queue.celery_taking import CeleryTaking, TakingRules
from tests.contracts.job_queue import SOON_S, numbered
from tests.fakes.domain import NOW
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
        while True:
            named = await self.named(*models, taker=taker, warm=warm)
            if (job := await self.taking.claim(named, taker, NOW)) is not None:
                return job.id

    async def named(self, *models: str, taker: str = "a", warm: tuple[str, ...] = ()) -> str:
        """The job that the next message names."""
        return await asyncio.wait_for(self.taking.take(models or ("tiny",), warm=warm, taker=taker), SOON_S)


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


async def test_what_a_message_brings_is_the_first_in_line() -> None:
    # Given two jobs, and a message for the second
    desk = Desk()
    desk.line.put(numbered(1))
    desk.line.put(numbered(2))
    message = desk.message("tiny", "job-2")
    # Then it brings the first one, whose device keeps it
    assert await desk.take() == "job-1"
    assert not message.done()
    desk.taking.done("job-1", taker="a")
    assert await message is True


async def test_takers_who_claim_at_once_get_different_jobs_and_keep_their_messages() -> None:
    # Given two jobs with their messages, and two takers of one node
    desk = Desk()
    desk.line.put(numbered(1))
    desk.line.put(numbered(2))
    messages = [desk.message("tiny", "job-1"), desk.message("tiny", "job-2")]
    # When they claim at the same time
    claimed = await asyncio.gather(desk.take(taker="a"), desk.take(taker="b"))
    # Then each has another one
    assert sorted(claimed) == ["job-1", "job-2"]
    # And what becomes of one message is nothing to the other
    desk.taking.done(claimed[0], taker="a")
    done, waiting = await asyncio.wait(messages, timeout=SOON_S, return_when=asyncio.FIRST_COMPLETED)
    assert [message.result() for message in done] == [True]
    desk.taking.close()
    assert [await message for message in waiting] == [False]


async def test_a_claim_that_was_made_and_not_answered_is_found_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a line that claims a job, and says that it could not
    desk = Desk()
    desk.line.put(numbered(1))
    desk.line.put(numbered(2))
    message = desk.message("tiny", "job-1")
    claim = desk.line.claim

    async def claim_in_silence(model: str, worker: str, now: datetime, **how: int | None) -> Job | None:
        await claim(model, worker, now, **how)
        raise StorageFailure

    monkeypatch.setattr(desk.line, "claim", claim_in_silence)
    named = await desk.named()
    with pytest.raises(StorageFailure):
        await desk.taking.claim(named, "a", NOW)
    # When it is asked again
    monkeypatch.undo()
    job = await desk.taking.claim(named, "a", NOW)
    # Then it is that job, and no other one is claimed
    assert job is not None
    assert job.id == "job-1"
    assert len(desk.line) == 1
    desk.taking.done("job-1", taker="a")
    assert await message is True


async def test_where_only_a_newer_version_can_go_on_its_message_goes_back_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a message for a job that this version cannot read
    monkeypatch.setattr("danqing.queue.celery_taking._NEWER_PAUSE_S", 0.01)
    desk = Desk()
    desk.line.unread.add("tiny")
    message = desk.message("tiny", "job-1")
    # Then there is nothing to be made here, and the message is for others
    assert await desk.taking.claim(await desk.named(), "a", NOW) is None
    assert await asyncio.wait_for(message, SOON_S) is False
    # And the taker is free for the next
    desk.line.put(numbered(2))
    message = desk.message("tiny", "job-2")
    assert await desk.take() == "job-2"
    desk.taking.done("job-2", taker="a")
    assert await message is True


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


async def test_a_lease_that_ends_before_the_claim_sends_the_message_back() -> None:
    # Given a message that was taken, and a store that was away until the lease was over
    desk = Desk()
    desk.line.put(numbered(1))
    message = desk.message("tiny", "job-1")
    named = await desk.named()
    desk.may_take = False
    # Then nothing is claimed
    assert await desk.taking.claim(named, "a", NOW) is None
    assert await message is False
    assert len(desk.line) == 1


async def test_a_claim_that_is_asked_after_closing_claims_nothing() -> None:
    desk = Desk()
    desk.line.put(numbered(1))
    message = desk.message("tiny", "job-1")
    named = await desk.named()
    desk.taking.close()
    assert await desk.taking.claim(named, "a", NOW) is None
    assert await message is False
    assert len(desk.line) == 1


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


async def test_a_take_that_is_cancelled_as_a_message_comes_leaves_it_to_others() -> None:
    # Given one who is cancelled at the moment in which he is given a message
    desk = Desk()
    desk.line.put(numbered(1))
    first = asyncio.create_task(desk.taking.take(("tiny",), taker="a"))
    await asyncio.sleep(0)
    given = desk.taking._takers[0].given
    message = desk.message("tiny", "job-1")
    async with asyncio.timeout(SOON_S):
        while not given.done():  # noqa: ASYNC110 - it is over a moment later
            await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
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
    assert await desk.named() == "job-1"
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
