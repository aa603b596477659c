"""News of an attempt are stored in order, and a stop waits for them, though not for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from structlog.testing import capture_logs

from danqing.workers.hands import JobAttempt
from danqing.workers.in_turn import InTurn
from danqing.workers.running import Deadline, Running, StageMeter
from tests.fakes.domain import a_job

LONG_S = 10.0


def a_running(name: str) -> Running:
    nobody: Any = None
    return Running(a_job(), JobAttempt(name, 1), nobody, Deadline(LONG_S), StageMeter(0.0))


def noting(notes: list[str], note: str, after: asyncio.Event | None = None) -> Callable[[], Awaitable[None]]:
    async def store() -> None:
        if after is not None:
            await after.wait()
        notes.append(note)

    return store


async def test_news_of_one_attempt_wait_for_those_before_them_and_not_for_others() -> None:
    # Given news that cannot be stored for now
    in_turn, notes, away = InTurn(), list[str](), asyncio.Event()
    slow, other = a_running("slow"), a_running("other")
    in_turn.settle(slow, noting(notes, "first", after=away), name="first")
    # When more comes, of the same attempt and of another one
    in_turn.settle(slow, noting(notes, "second"), name="second")
    in_turn.settle(other, noting(notes, "of the other"), name="of the other")
    await asyncio.sleep(0.01)
    # Then only the other one's are stored
    assert notes == ["of the other"]
    assert in_turn.is_unsettled(slow.attempt)
    assert not in_turn.is_unsettled(other.attempt)
    # And the rest, in order, before it has stopped
    asyncio.get_running_loop().call_later(0.01, away.set)
    await in_turn.stop(grace_s=LONG_S)
    assert notes == ["of the other", "first", "second"]
    assert not in_turn.is_unsettled(slow.attempt)


async def test_a_stop_tells_what_it_did_not_wait_for() -> None:
    in_turn, never = InTurn(), asyncio.Event()
    in_turn.settle(a_running("stuck"), noting([], "never", after=never), name="stuck")
    with capture_logs() as lines:
        await in_turn.stop(grace_s=0.01)
    assert [(line["event"], line["task"]) for line in lines] == [("job_not_settled", "stuck")]


async def test_a_mistake_is_told_and_holds_up_nobody() -> None:
    in_turn, notes, running = InTurn(), list[str](), a_running("odd")

    async def mistaken() -> None:
        raise KeyError("a mistake")

    with capture_logs() as lines:
        in_turn.settle(running, mistaken, name="mistaken")
        in_turn.settle(running, noting(notes, "next"), name="next")
        await in_turn.stop(grace_s=LONG_S)
    assert notes == ["next"]
    assert [(line["event"], line["task"]) for line in lines] == [("dispatch_failed", "mistaken")]
