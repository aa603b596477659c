"""What a process remembers of its host and of the queue."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from danqing.core.errors import StorageFailure
from danqing.core.studio import QueueStatus
from danqing.core.types import DeviceStatus, PoolStatus, WorkerState, WorkerStatus
from danqing.http.machine_log import KEPT, HostLoad, MachineLog
from tests.zoo.house import until

START = datetime(2026, 11, 26, 8, tzinfo=UTC)


def a_log(host: str = "here", *, failing: bool = False) -> MachineLog:
    """Each look is a minute after the one before, and finds one more pending job."""
    numbers, minutes = count(1), count()

    async def queue() -> QueueStatus:
        if failing:
            raise StorageFailure
        return QueueStatus(max_queue_size=9, pending=next(numbers), processing=1, completed=2, failed=0, cancelled=0)

    def pool() -> PoolStatus:
        gpu = DeviceStatus(id="cuda:0", name="a", kind="cuda", memory_reserved_bytes=7)
        devices = {"gpu": gpu, "cpu": DeviceStatus(id="cpu", name="b", kind="cpu"), "gone": None}
        return PoolStatus(
            workers=tuple(
                WorkerStatus(id=name, state=WorkerState.READY, pid=1, restarts=0, models=(), device=device)
                for name, device in devices.items()
            )
        )

    return MachineLog(
        queue=queue,
        pool=pool,
        load=lambda: HostLoad(cpu_percent=50.0, memory_used_bytes=1, memory_total_bytes=2),
        clock=lambda: START + timedelta(minutes=next(minutes)),
        host_name=host,
    )


async def test_it_remembers_an_hours_worth_and_forgets_what_is_older() -> None:
    log = a_log()
    assert (log.began_at, log.since(None), log.latest.cpu_percent) == (None, [], 50.0)
    for _ in range(KEPT + 1):
        await log.look()
    kept = log.since(None)
    assert (len(kept), kept[0].pending, kept[-1].pending) == (KEPT, 2, KEPT + 1)
    assert log.began_at == kept[0].at == START + timedelta(minutes=1)
    assert kept[0].workers == {"gpu": 7}
    assert [sample.pending for sample in log.since(kept[-3].at)] == [KEPT, KEPT + 1]


async def test_a_store_that_fails_leaves_a_gap_and_it_goes_on() -> None:
    log = a_log(failing=True)
    async with log.kept_going(every_s=0.001):
        await asyncio.sleep(0.02)
    assert log.since(None) == []


async def test_a_look_that_fails_in_a_way_nobody_thought_of_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    log = a_log()
    look, breaks = log.look, [True, True]

    async def breaks_at_first() -> None:
        if breaks:
            breaks.pop()
            raise OSError("no /proc here")
        await look()

    monkeypatch.setattr(log, "look", breaks_at_first)
    async with log.kept_going(every_s=0.001):
        await until(lambda: len(log.since(None)) >= 1, "a look after two that failed")


async def test_the_end_comes_though_the_last_look_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    log, looked = a_log(), asyncio.Event()

    async def break_when_stopped() -> None:
        looked.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("stopped in the middle")

    monkeypatch.setattr(log, "look", break_when_stopped)
    async with log.kept_going(every_s=0.001):
        await looked.wait()


async def test_it_looks_again_and_again_until_the_end() -> None:
    log = a_log()
    async with log.kept_going(every_s=0.001):
        await until(lambda: len(log.since(None)) >= 3, "three looks")
    before = len(log.since(None))
    await asyncio.sleep(0.01)
    assert len(log.since(None)) == before


def test_processes_of_one_host_say_that_they_are_of_one() -> None:
    assert a_log("here").host_id == a_log("here").host_id != a_log("there").host_id
