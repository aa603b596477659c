"""A start that waits for a part that is away, and for how long."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable

import pytest
import structlog

from danqing import collector
from danqing.core.errors import StorageAway, StorageFailure
from danqing.wiring.start_wait import StartWait


def there_after(tries: int) -> Callable[[], Awaitable[str]]:
    """Away at first."""
    left = iter(range(tries))

    async def opened() -> str:
        if next(left, None) is not None:
            raise StorageAway("Nobody listens there.")
        return "opened"

    return opened


async def test_what_is_there_is_not_waited_for() -> None:
    wait = StartWait()
    with structlog.testing.capture_logs() as lines:
        assert await wait.until_there("database", there_after(0)) == "opened"
    assert lines == []
    assert not wait.begun.is_set()


async def test_what_is_away_is_waited_for_and_the_log_says_so_once_in_a_while() -> None:
    wait = StartWait(retry_s=0)
    with structlog.testing.capture_logs() as lines:
        assert await wait.until_there("database", there_after(100)) == "opened"
    assert wait.begun.is_set()
    said = [(line["event"], line["part"], line.get("reason")) for line in lines]
    assert said == [("waiting_for_part", "database", "Nobody listens there."), ("part_there", "database", None)]
    # And again as often as it is to
    with structlog.testing.capture_logs() as lines:
        await StartWait(retry_s=0, said_every_s=0).until_there("database", there_after(3))
    assert [line["event"] for line in lines] == ["waiting_for_part"] * 3 + ["part_there"]


async def test_a_wait_may_have_an_end() -> None:
    wait = StartWait(most_s=0, retry_s=0)
    with pytest.raises(StorageAway, match="Nobody listens there"):
        await wait.until_there("database", there_after(1))
    assert not wait.begun.is_set()


async def test_what_says_no_is_not_waited_for() -> None:
    async def refuse() -> None:
        raise StorageFailure("wrong password")

    with pytest.raises(StorageFailure, match="wrong password"):
        await StartWait().until_there("database", refuse)


async def test_a_wait_can_be_cancelled() -> None:
    wait = StartWait(retry_s=3600)
    waiting = asyncio.create_task(wait.until_there("database", there_after(1)))
    await wait.begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_while_it_waits_cycles_are_looked_for_though_the_start_had_paused_that() -> None:
    with collector.paused():
        await StartWait(retry_s=0).until_there("database", there_after(0))
        assert not gc.isenabled()
        await StartWait(retry_s=0).until_there("database", there_after(1))
        assert gc.isenabled()


async def test_what_waiting_has_left_is_gone_once_the_part_is_there() -> None:
    # Given tries that leave cycles, too few of them for the collector to come by itself
    class Left:
        def __init__(self) -> None:
            self.itself = self

    left: list[weakref.ref[Left]] = []
    opened = there_after(3)

    async def leaving() -> str:
        left.append(weakref.ref(Left()))
        return await opened()

    with collector.paused():
        await StartWait(retry_s=0).until_there("database", leaving)
        assert [each() for each in left] == [None] * 4
