"""Work that goes on beside something else."""

import asyncio

import pytest

from danqing.core.background import running


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
