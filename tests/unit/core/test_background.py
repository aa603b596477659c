"""Work that goes on beside something else."""

import asyncio

import pytest
import structlog

from danqing.core.background import outliving, running


async def test_it_goes_on_inside_and_has_ended_outside() -> None:
    seen: list[str] = []
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            seen.append("ended")

    async with running(work(), name="work"):
        await begun.wait()
        assert "work" in {task.get_name() for task in asyncio.all_tasks()}
    assert seen == ["ended"]


async def test_what_had_ended_it_is_raised_at_the_end() -> None:
    async def work() -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        async with running(work(), name="work"):
            await asyncio.sleep(0)


async def test_a_mistake_is_logged_and_the_next_round_comes() -> None:
    rounds = 0
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            with outliving("it_failed", name="work"):
                rounds += 1
                raise KeyError("a mistake")
    assert rounds == 2
    told = [(line["event"], line["name"], line["log_level"]) for line in lines]
    assert told == [("it_failed", "work", "error")] * 2


async def test_what_is_stopped_ends_also_where_it_fails_of_that() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        while True:
            with outliving("it_failed"):
                begun.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    raise OSError("gone")

    async with running(work(), name="work"):
        await begun.wait()
