"""A whole server around the painter: in the test's own loop, or in a thread behind a real port."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import cast

import httpx2
from fastapi import FastAPI

from danqing.core.admission import Admission
from danqing.core.capabilities import ModelCard
from danqing.core.clock import utc_now
from danqing.core.gallery import Gallery
from danqing.core.issued_keys import KeyRing
from danqing.core.orders import Limits
from danqing.core.removal import Removal
from danqing.core.studio import Studio, new_job_id
from danqing.core.taking_over import InputImages
from danqing.core.types import DeviceStatus, WorkerState
from danqing.http.app import build_app, build_dialect_app
from danqing.http.dialect import Dialect, DialectOptions, Services
from danqing.http.gate import GateParts
from danqing.http.keys import Keys
from danqing.http.listeners import Listener, open_listeners
from danqing.http.machine_log import MachineLog
from danqing.http.origins import GateRules
from danqing.http.picture_links import PictureLinks
from danqing.http.server import Stop, event_loop_factory, serve
from danqing.http.standing import Standing
from tests.dialects.sides import AllStop, InTurn, sides_at, start_services
from tests.fakes.domain import a_card
from tests.fakes.intake import PlainIntake
from tests.fakes.painter import Painter
from tests.fakes.studio_parts import FixedCatalogue


class House:
    """Everything but real workers and, unless the environment wants several processes (`sides.py`), a database."""

    def __init__(
        self,
        root: Path,
        *,
        automatic: bool = False,
        state: WorkerState = WorkerState.READY,
        device: DeviceStatus | None = None,
        card: ModelCard | None = None,
        others: Sequence[ModelCard] = (),
        max_queue_size: int = 100,
        limits: Limits | None = None,
        new_id: Callable[[], str] = new_job_id,
        keys: Keys | None = None,
        rules: GateRules | None = None,
        options: DialectOptions | None = None,
        aliases: Mapping[str, str] | None = None,
        admission: Admission | None = None,
    ) -> None:
        """limits: in place of max_queue_size. keys: none are needed without. rules: any Host, and pages of no other
        origin, without.
        """
        self._sides = sides_at(root)
        self.store, self.events = self._sides.workers.store, self._sides.workers.events
        self.artifacts = self._sides.artifacts
        self.painter = Painter(
            store=self.store,
            events=self.events,
            artifacts=self.artifacts,
            automatic=automatic,
            state=state,
            device=device,
            worker=self._sides.worker,
        )
        inputs = [InputImages(self.artifacts) for _ in self._sides.apis]
        studios = [
            Studio(
                store=side.store,
                queue=self.painter,
                pool=side.pool(self.painter),
                events=side.events,
                catalogue=FixedCatalogue(card or a_card(), *others, aliases=aliases),
                artifacts=self.artifacts,
                limits=limits or Limits(max_queue_size=max_queue_size),
                admission=admission,
                inputs=its_inputs,
                new_id=new_id,
                attendance=side.attendance,
            )
            for side, its_inputs in zip(self._sides.apis, inputs, strict=True)
        ]
        self.studio = studios[0] if len(studios) == 1 else cast(Studio, AllStop(studios))
        self._key_rings = [KeyRing(side.issued_keys, clock=utc_now) for side in self._sides.apis]
        all_keys = [replace(keys or Keys(enabled=False), issued=key_ring) for key_ring in self._key_rings]
        self.gates = [
            GateParts(
                keys=its_keys,
                rules=rules or GateRules(loopback_only=False),
                tickets=side.tickets,
            )
            for side, its_keys in zip(self._sides.apis, all_keys, strict=True)
        ]
        self._services = [
            Services(
                studio=studio,
                gallery=Gallery(side.batches),
                subscriptions=side.subscriptions,
                artifacts=self.artifacts,
                intake=PlainIntake(self.artifacts),
                removal=Removal(studio=studio, kept=side.kept, artifacts=self.artifacts, inputs=its_inputs),
                key_ring=key_ring,
                standing=Standing(its_keys),
                machine_log=MachineLog(queue=studio.queue_status, pool=studio.pool_status, host_name="a-host"),
                links=PictureLinks(b"secret of this house" if self.gate.keys.enabled else None),
                options=options or DialectOptions(needs_key=self.gate.keys.enabled),
                neighbours=side.neighbours,
            )
            for side, studio, its_inputs, key_ring, its_keys in zip(
                self._sides.apis, studios, inputs, self._key_rings, all_keys, strict=True
            )
        ]
        self._apps: list[tuple[tuple[Services, GateParts, tuple[Dialect, ...], bool], FastAPI]] = []
        _houses.append(self)

    @property
    def gate(self) -> GateParts:
        """Of the first API process."""
        return self.gates[0]

    @property
    def services(self) -> Services:
        """Of the first API process. What is changed in them is changed in all."""
        return self._services[0]

    @services.setter
    def services(self, services: Services) -> None:
        before = self._services[0]
        changed = {
            field.name: getattr(services, field.name)
            for field in fields(Services)
            if getattr(services, field.name) is not getattr(before, field.name)
        }
        self._services = [replace(each, **changed) for each in self._services]

    async def note_used_keys(self) -> None:
        """In the store, as each API process does every few seconds."""
        for key_ring in self._key_rings:
            await key_ring.note_used()

    async def refresh_keys(self) -> None:
        """Each API process looks which there are, as it does every few seconds."""
        for key_ring in self._key_rings:
            await key_ring.refresh()

    def app(self, *dialects: Dialect, alone: bool = False) -> FastAPI:
        """alone: the app of the one dialect, else that of the shared port. Of several API processes, in turn."""
        apps = [self._app(*each, *dialects, alone=alone) for each in zip(self._services, self.gates, strict=True)]
        return apps[0] if len(apps) == 1 else cast(FastAPI, InTurn(*apps, before=self._before_a_request))

    def _app(self, services: Services, gate: GateParts, *dialects: Dialect, alone: bool) -> FastAPI:
        """Made once: it takes longer than most requests."""
        for (its_services, *rest), app in self._apps:
            if its_services is services and rest == [gate, dialects, alone]:
                return app
        if alone:
            app = build_dialect_app(services, gate=gate, dialect=dialects[0])
        else:
            app = build_app(services, gate=gate, dialects=dialects)
        self._apps.append(((services, gate, dialects, alone), app))
        return app

    def client(self, *dialects: Dialect, alone: bool = False) -> httpx2.AsyncClient:
        """Talks to the `app` without a network."""
        transport = httpx2.ASGITransport(app=self.app(*dialects, alone=alone))
        return httpx2.AsyncClient(transport=transport, base_url="http://danqing.test")

    async def open(self) -> None:
        """Connects its processes, if they are several. Every request does."""
        await self._sides.open(self.painter)

    async def _before_a_request(self) -> None:
        """What one process issued, the others have had time to notice."""
        await self.open()
        if self.gate.keys.enabled:
            await self.refresh_keys()

    async def close(self) -> None:
        """Ends that again."""
        await self._sides.close()


_houses: list[House] = []


async def close_houses() -> None:
    """Those that were made since, in the event loop in which they were used."""
    while _houses:
        await _houses.pop().close()


def ids_from(*first: str) -> Callable[[], str]:
    """These job ids, then random ones."""
    ids: Iterator[str] = itertools.chain(first, iter(new_job_id, None))
    return lambda: next(ids)


@contextmanager
def served(make_house: Callable[[], House], dialects: Sequence[Dialect]) -> Iterator[str]:
    """The shared port of a house in a thread of its own; yields its address."""
    ready: threading.Event = threading.Event()
    address: list[str] = []
    end: list[Callable[[], object]] = []

    async def run() -> None:
        house, stop = make_house(), Stop()
        _houses.remove(house)  # it may outlive a test
        app = house.app(*dialects)
        with open_listeners([Listener(host="127.0.0.1", port=0)]) as listeners:
            address.append(listeners[0].url)
            loop = asyncio.get_running_loop()
            end.append(lambda: loop.call_soon_threadsafe(stop.request))
            ready.set()
            await serve({listeners[0]: app}, stop=stop, drain=_nothing)
        await house.close()

    def main() -> None:
        with asyncio.Runner(loop_factory=event_loop_factory()) as runner:
            runner.run(run())

    start_services()
    thread = threading.Thread(target=main, name="served")
    thread.start()
    try:
        assert ready.wait(20)
        yield address[0]
    finally:
        if end:
            end[0]()
        thread.join(20)
        assert not thread.is_alive()


async def _nothing() -> None:
    pass
