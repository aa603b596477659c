"""A place that does not answer holds up those who found that out, and nobody after them."""

import asyncio

import pytest

from danqing.core.errors import StorageFailure, Unavailable
from danqing.core.place_guard import GuardRules, PlaceGuard

RULES = GuardRules(at_once=2, wait_s=0.05, slow_s=5, rest_s=15)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def fail(guard: PlaceGuard, clock: Clock, *, after_s: float) -> None:
    async with guard.call():
        clock.now += after_s
        raise StorageFailure


async def answer(guard: PlaceGuard) -> None:
    async with guard.call():
        pass


async def test_after_a_slow_failure_callers_are_refused_at_once_until_one_may_try_it() -> None:
    # Given a place of which a call failed after a long time
    clock = Clock()
    guard = PlaceGuard(RULES, clock=clock)
    with pytest.raises(Unavailable) as told:
        await fail(guard, clock, after_s=5)
    assert told.value.retry_after_s == 15
    # Then others are refused without a call
    clock.now += 14.9
    with pytest.raises(Unavailable):
        await answer(guard)
    # And after a while one may try it, and meanwhile nobody else
    clock.now += 0.1
    async with guard.call():
        with pytest.raises(Unavailable):
            await answer(guard)
    # And when that was answered, all may
    async with guard.call():
        await answer(guard)


async def test_a_try_that_fails_begins_the_rest_again() -> None:
    clock = Clock()
    guard = PlaceGuard(RULES, clock=clock)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await fail(guard, clock, after_s=5)
        with pytest.raises(Unavailable):
            await answer(guard)
        clock.now += 15
    # But one that fails soon is told as it is, and so is the next
    for _ in range(2):
        with pytest.raises(StorageFailure):
            await fail(guard, clock, after_s=1)


async def test_who_finds_no_room_is_refused_after_a_while() -> None:
    # Given as many calls as there may be at once, none of which is answered
    guard = PlaceGuard(RULES, clock=Clock())
    async with guard.call(), guard.call():
        # Then the next one is refused
        with pytest.raises(Unavailable):
            await answer(guard)
    # And when they have ended, there is room for two again
    async with guard.call(), guard.call():
        pass


async def test_who_waited_for_room_does_not_call_what_turned_out_to_be_away() -> None:
    clock = Clock()
    guard = PlaceGuard(GuardRules(at_once=1, wait_s=60, slow_s=5, rest_s=15), clock=clock)
    waiting: list[asyncio.Task[None]] = []
    with pytest.raises(Unavailable):
        async with guard.call():
            waiting = [asyncio.create_task(answer(guard)) for _ in range(5)]
            await asyncio.sleep(0)
            clock.now += 30
            raise StorageFailure
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 5
