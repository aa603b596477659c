"""What goes on for ever outlives a mistake that nobody thought of: nobody else would do it before the next start."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from danqing.core.events import StateChanged
from danqing.core.issued_keys import KeyRing
from danqing.core.janitor import Janitor, Retention
from danqing.core.reconciling import keep_reconciled
from danqing.events.outgoing import Outgoing
from danqing.events.redis_bus import RedisEventBus
from danqing.redis_link.hearing import Hearing
from danqing.shared.attendance import SharedAttendance
from danqing.shared.control import ControlHearing
from danqing.shared.neighbours import SharedNeighbours
from danqing.shared.remote_pool import RemotePool
from danqing.store import advisory_locks
from danqing.wiring import pictures
from danqing.wiring.node import _Node
from danqing.workers.spec import WorkerRules
from danqing.workers.supervisor import Supervisor
from tests.fakes.domain import NOW, a_job
from tests.fakes.issued_keys import InMemoryIssuedKeys
from tests.zoo.house import until

SOON_S = 0.01
Patch = pytest.MonkeyPatch


class Mistaken:
    """Whatever is called fails once; `calls` of it there were."""

    def __init__(self, answer: object = None) -> None:
        self.calls = 0
        self._answer = answer

    def at_once(self, *_: object, **__: object) -> Any:  # noqa: ANN401 - stands for anything
        self.calls += 1
        if self.calls == 1:
            raise KeyError("a mistake")
        return self._answer

    async def later(self, *_: object, **__: object) -> Any:  # noqa: ANN401 - stands for anything
        return self.at_once()


def fake(**parts: object) -> Any:  # noqa: ANN401 - stands for anything
    return SimpleNamespace(**parts)


def janitor(mistaken: Mistaken, patch: Patch) -> Coroutine[Any, Any, None]:
    patch.setattr("danqing.core.janitor.SWEEP_EVERY_S", SOON_S)
    mistaken._answer = 0

    async def now() -> datetime:
        return NOW

    nobody = fake()
    sizes = fake(of=mistaken.later)
    kept = fake(now=now)
    return Janitor(Retention(max_bytes=1), kept=kept, sizes=sizes, artifacts=nobody, inputs=nobody).run()


def reconciling(mistaken: Mistaken, _: Patch) -> Coroutine[Any, Any, None]:
    @asynccontextmanager
    async def exclusive(name: str) -> AsyncGenerator[bool]:
        mistaken.at_once()
        yield False

    return keep_reconciled(fake(), fake(), fake(), exclusive=exclusive, retry_s=SOON_S)


def issued_keys(mistaken: Mistaken, patch: Patch) -> Coroutine[Any, Any, None]:
    keys = KeyRing(InMemoryIssuedKeys(), clock=lambda: NOW)
    patch.setattr(keys, "refresh", mistaken.later)
    return keys._refresh_for_ever(SOON_S)


def remote_pool(mistaken: Mistaken, patch: Patch) -> Coroutine[Any, Any, None]:
    patch.setattr("danqing.shared.remote_pool.LOOK_S", SOON_S)
    mistaken._answer = ()
    nodes = fake(alive=mistaken.later)
    return RemotePool(nodes, stop_job=mistaken.later, send_previews=mistaken.later).run()


def attendance(mistaken: Mistaken, _: Patch) -> Coroutine[Any, Any, None]:
    return SharedAttendance(fake(ask=mistaken.later), lease_s=SOON_S)._live()


def neighbours(mistaken: Mistaken, patch: Patch) -> Coroutine[Any, Any, None]:
    patch.setattr("danqing.shared.neighbours.AT_ONCE", 1)
    neighbours = SharedNeighbours(fake(ask=mistaken.later))
    for words in "ab":
        neighbours.say("topic", words)
    return neighbours._say()


def asked_of_nodes(mistaken: Mistaken, _: Patch) -> Coroutine[Any, Any, None]:
    control = ControlHearing(fake(), fake(stop_job=mistaken.later))
    for _number in range(2):
        control._heard("", b'{"do": "stop", "job": "a"}')
    return control._tell()


def wished_of_nodes(mistaken: Mistaken, _: Patch) -> Coroutine[Any, Any, None]:
    control = ControlHearing(fake(ask=mistaken.later), fake())
    mistaken._answer = [[]]
    return _with(control._learn_wishes(), control._catch_up.set)


def comparing(mistaken: Mistaken, patch: Patch) -> Coroutine[Any, Any, None]:
    bus = RedisEventBus(fake(), store=fake(), compare_s=SOON_S, compare_away_s=SOON_S)
    patch.setattr(bus._comparing, "compare", mistaken.later)
    return bus._compare()


def events(mistaken: Mistaken, _: Patch) -> Coroutine[Any, Any, None]:
    outgoing = Outgoing(fake(ask=mistaken.later, is_resting=False), origin=b"x")
    return _with(outgoing.run(), lambda: outgoing.put(StateChanged(job=a_job())))


def hearing(mistaken: Mistaken, patch: Patch) -> Coroutine[Any, Any, None]:
    patch.setattr("danqing.redis_link.hearing.FIRST_PAUSE_S", SOON_S)

    async def disconnect(**_: object) -> None:
        pass

    mistaken._answer = None
    link = fake(connection=lambda: fake(connect=mistaken.later, disconnect=disconnect, is_connected=False))
    return Hearing(link, heard=mistaken.at_once)._run(asyncio.get_running_loop().create_future())


def worker_checks(mistaken: Mistaken, _: Patch) -> Coroutine[Any, Any, None]:
    supervisor = Supervisor((), rules=WorkerRules(check_s=SOON_S))
    supervisor._workers = (fake(id="w1", check=mistaken.at_once, forgive=lambda _: None),)
    return supervisor._check_all(fake(time_passed=lambda *_: None))


def deadlines(mistaken: Mistaken, _: Patch) -> Coroutine[Any, Any, None]:
    return Supervisor((), rules=WorkerRules(check_s=SOON_S))._check_all(fake(time_passed=mistaken.at_once))


def lock_of_one(mistaken: Mistaken, patch: Patch) -> Coroutine[Any, Any, None]:
    patch.setattr(advisory_locks, "LOOK_AGAIN_S", SOON_S)
    mistaken._answer = False
    return advisory_locks._keep(cast("advisory_locks._Held", fake(is_lost=mistaken.at_once)))


def place_of_pictures(mistaken: Mistaken, patch: Patch) -> Coroutine[Any, Any, None]:
    mistaken._answer = fake(address=""), None
    patch.setattr(pictures, "_tried", mistaken.at_once)
    return pictures.try_again(fake(), every_s=SOON_S)


def feeding(mistaken: Mistaken, patch: Patch) -> Coroutine[Any, Any, None]:
    patch.setattr("danqing.wiring.node.FEED_CHECK_S", SOON_S)
    patch.setattr("danqing.wiring.node.FEED_RETRY_S", SOON_S)
    patch.setattr(_Node, "_begun", mistaken.at_once)
    mistaken._answer = fake(paused=asyncio.Event())
    nobody = fake()
    return _Node(
        life=fake(draining=False, holds_its_lease=True),
        dispatcher=nobody,
        supervisor=fake(status=lambda: fake(model_loaded=True)),
        taking=nobody,
        jobs=nobody,
        events=nobody,
        broker=nobody,
        threads=1,
        witness=nobody,
    ).feed("node")


async def _with(work: Coroutine[Any, Any, None], prompt: Callable[[], None]) -> None:
    """Something to do comes again and again."""
    task = asyncio.create_task(work)
    try:
        while not task.done():
            prompt()
            await asyncio.sleep(SOON_S)
        await task
    finally:
        task.cancel()


@pytest.mark.parametrize(
    "loop",
    [
        janitor,
        reconciling,
        issued_keys,
        remote_pool,
        attendance,
        neighbours,
        asked_of_nodes,
        wished_of_nodes,
        comparing,
        events,
        hearing,
        worker_checks,
        deadlines,
        lock_of_one,
        place_of_pictures,
        feeding,
    ],
)
async def test_it_goes_on(
    loop: Callable[[Mistaken, Patch], Coroutine[Any, Any, None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    mistaken = Mistaken()
    task = asyncio.create_task(loop(mistaken, monkeypatch))
    await until(lambda: task.done() or mistaken.calls >= 2, "a second round")
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert mistaken.calls >= 2
