"""Bodies in memory: as many as there is room for, and all room back at the end."""

import asyncio
from collections.abc import Sequence

import pytest
from starlette.requests import ClientDisconnect, Request

from danqing.core.errors import RequestTimeout, TooBusy
from danqing.http.body_budget import FREE_BYTES, BodyBudget

MEBIBYTE = 1024 * 1024


def a_request(pieces: Sequence[bytes], *, end: str = "whole") -> Request:
    """end: "whole", "gone" (the client hangs up) or "silence"."""
    left = list(pieces)

    async def receive() -> dict[str, object]:
        if left:
            return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or end != "whole"}
        if end == "silence":
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": []}, receive)


async def test_a_body_counts_until_it_is_not_needed_any_more() -> None:
    budget, pieces = BodyBudget(), [bytes([number]) * 100_000 for number in range(20)]

    async with budget.read(a_request(pieces), timeout_s=60) as body:
        assert bytes(body) == b"".join(pieces)
        body.clear()  # what was made of it is as large
        assert budget.held_bytes == 2_000_000 - FREE_BYTES

    assert budget.held_bytes == 0


async def test_what_there_is_no_room_for_is_refused_but_small_bodies_never_are() -> None:
    budget = BodyBudget(3 * MEBIBYTE)
    large, small = [bytes(MEBIBYTE)] * 2, [bytes(1000)] * 60

    async with budget.read(a_request(large), timeout_s=60):
        with pytest.raises(TooBusy):
            async with budget.read(a_request(large), timeout_s=60):
                raise AssertionError
        async with budget.read(a_request([bytes(MEBIBYTE)]), timeout_s=60):
            held = budget.held_bytes
            async with budget.read(a_request([bytes(2 * FREE_BYTES), b""]), timeout_s=60):
                pass
            async with budget.read(a_request(small), timeout_s=60) as body:
                assert len(body) == 60_000
                assert budget.held_bytes == held

    # Then there is room again
    async with budget.read(a_request(large), timeout_s=60) as body:
        assert len(body) == 2 * MEBIBYTE
    assert budget.held_bytes == 0


@pytest.mark.parametrize(("end", "error"), [("gone", ClientDisconnect), ("silence", RequestTimeout)])
async def test_a_body_that_does_not_come_keeps_no_room(end: str, error: type[Exception]) -> None:
    budget = BodyBudget()

    with pytest.raises(error):
        async with budget.read(a_request([bytes(MEBIBYTE)], end=end), timeout_s=0.05):
            raise AssertionError

    assert budget.held_bytes == 0


async def test_bodies_are_parsed_one_after_another_and_not_in_the_event_loop() -> None:
    budget, loop = BodyBudget(), asyncio.get_running_loop()
    at_work: list[int] = []
    most: list[int] = []

    def work() -> None:
        at_work.append(1)
        # Answered by the event loop, which therefore is free
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01), loop).result(60)
        most.append(len(at_work))
        at_work.pop()

    await asyncio.gather(*(budget.parse(work) for _ in range(4)))

    assert most == [1, 1, 1, 1]
