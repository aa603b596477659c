"""Answers that a thread gives to an event loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from danqing.core.errors import StorageFailure
from danqing.store.answers import LoopAnswer, LoopAnswers


class CountedLoop:
    """What answers need of an event loop, and how often it was woken."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.woken = 0

    def create_future(self) -> "asyncio.Future[int]":
        return self.loop.create_future()

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> None:
        self.woken += 1
        self.loop.call_soon_threadsafe(callback)


def answers() -> LoopAnswers:
    return LoopAnswers(asyncio.get_running_loop())


async def given(give: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1) as thread:
        await asyncio.get_running_loop().run_in_executor(thread, give)


async def test_results_and_failures_reach_those_who_wait() -> None:
    of = answers()
    good, bad = LoopAnswer[int](of), LoopAnswer[int](of)

    def give() -> None:
        assert good.set_running_or_notify_cancel()
        assert not good.done()
        good.set_result(7)
        assert good.done()
        bad.set_exception(StorageFailure())

    await given(give)
    assert await good.future == 7
    with pytest.raises(StorageFailure):
        await bad.future


async def test_the_loop_is_woken_once_for_all_that_are_given_while_it_is_busy() -> None:
    # Given a loop that does not come round
    counted = CountedLoop()
    of = LoopAnswers(counted)  # type: ignore[arg-type]
    many = [LoopAnswer[int](of) for _ in range(100)]
    thread = threading.Thread(target=lambda: [each.set_result(at) for at, each in enumerate(many)])
    thread.start()
    thread.join()
    # When it does, then all are there, after one call; and it is woken for the next one again
    assert counted.woken == 1
    assert await asyncio.gather(*(each.future for each in many)) == list(range(100))
    last = LoopAnswer[int](of)
    await given(lambda: last.set_result(1))
    assert await last.future == 1
    assert counted.woken == 2


async def test_none_is_lost_among_many_that_are_given_while_the_loop_hands_out() -> None:
    of = answers()
    many = [LoopAnswer[int](of) for _ in range(5_000)]
    thread = threading.Thread(target=lambda: [each.set_result(at) for at, each in enumerate(many)])
    thread.start()
    async with asyncio.timeout(60):
        assert [await each.future for each in many] == list(range(5_000))
    thread.join()


async def test_who_does_not_wait_any_more_is_told_nothing() -> None:
    # Given one who gave up before his call was begun, and one who does while it runs
    of = answers()
    early, late, other = LoopAnswer[int](of), LoopAnswer[int](of), LoopAnswer[int](of)
    early.future.cancel()
    # When they are answered
    assert not early.set_running_or_notify_cancel()
    assert late.set_running_or_notify_cancel()
    late.future.cancel()
    await given(lambda: late.set_result(1))
    await given(lambda: other.set_result(2))
    # Then others are, too
    assert await other.future == 2
    assert late.future.cancelled()


def test_a_loop_that_is_closed_is_no_error() -> None:
    loop = asyncio.new_event_loop()
    answer = LoopAnswer[int](LoopAnswers(loop))
    loop.close()
    answer.set_result(1)
    assert answer.done()
