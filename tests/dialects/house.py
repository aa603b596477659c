"""A whole server around the painter: in the test's own loop, or in a thread behind a real port."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
from fastapi import FastAPI

from danqing.blobs.local import LocalArtifactStore
from danqing.core.admission import Admission
from danqing.core.capabilities import ModelCard
from danqing.core.gallery import Gallery
from danqing.core.issued_keys import KeyRing
from danqing.core.removal import Removal
from danqing.core.studio import Limits, Studio, new_job_id, utc_now
from danqing.core.taking_over import InputImages
from danqing.core.types import DeviceStatus, WorkerState
from danqing.events.in_process import InProcessEventBus
from danqing.http.app import build_app, build_dialect_app
from danqing.http.dialect import Dialect, DialectOptions, Services
from danqing.http.gate import GateParts
from danqing.http.keys import Keys
from danqing.http.listeners import Listener, open_listeners
from danqing.http.origins import GateRules
from danqing.http.picture_links import PictureLinks
from danqing.http.server import Stop, event_loop_factory, serve
from tests.fakes.domain import a_card
from tests.fakes.intake import PlainIntake
from tests.fakes.issued_keys import InMemoryIssuedKeys
from tests.fakes.job_store import InMemoryBatchStore, InMemoryJobStore, InMemoryKeptJobs, InMemorySubscriptions
from tests.fakes.painter import Painter
from tests.fakes.studio_parts import FixedCatalogue


class House:
    """Everything but real workers and a database."""

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
        self.store = InMemoryJobStore()
        self.events = InProcessEventBus()
        self.artifacts = LocalArtifactStore(root)
        self.painter = Painter(
            store=self.store,
            events=self.events,
            artifacts=self.artifacts,
            automatic=automatic,
            state=state,
            device=device,
        )
        inputs = InputImages(self.artifacts)
        self.studio = Studio(
            store=self.store,
            queue=self.painter,
            pool=self.painter,
            events=self.events,
            catalogue=FixedCatalogue(card or a_card(), *others, aliases=aliases),
            artifacts=self.artifacts,
            limits=limits or Limits(max_queue_size=max_queue_size),
            admission=admission,
            inputs=inputs,
            new_id=new_id,
        )
        self.key_ring = KeyRing(InMemoryIssuedKeys(), clock=utc_now)
        known = replace(keys or Keys(enabled=False), issued=self.key_ring.holds)
        self.gate = GateParts(keys=known, rules=rules or GateRules(loopback_only=False))
        self.services = Services(
            studio=self.studio,
            gallery=Gallery(InMemoryBatchStore(self.store)),
            subscriptions=InMemorySubscriptions(self.store),
            artifacts=self.artifacts,
            intake=PlainIntake(self.artifacts),
            removal=Removal(
                studio=self.studio, kept=InMemoryKeptJobs(self.store), artifacts=self.artifacts, inputs=inputs
            ),
            key_ring=self.key_ring,
            links=PictureLinks(b"secret of this house" if self.gate.keys.enabled else None),
            options=options or DialectOptions(needs_key=self.gate.keys.enabled),
        )

    def app(self, *dialects: Dialect, alone: bool = False) -> FastAPI:
        """alone: the app of the one dialect, else that of the shared port."""
        if alone:
            return build_dialect_app(self.services, gate=self.gate, dialect=dialects[0])
        return build_app(self.services, gate=self.gate, dialects=dialects)

    def client(self, *dialects: Dialect, alone: bool = False) -> httpx2.AsyncClient:
        """Talks to the `app` without a network."""
        transport = httpx2.ASGITransport(app=self.app(*dialects, alone=alone))
        return httpx2.AsyncClient(transport=transport, base_url="http://danqing.test")


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
        app = house.app(*dialects)
        with open_listeners([Listener(host="127.0.0.1", port=0)]) as listeners:
            address.append(listeners[0].url)
            loop = asyncio.get_running_loop()
            end.append(lambda: loop.call_soon_threadsafe(stop.request))
            ready.set()
            await serve({listeners[0]: app}, stop=stop, drain=_nothing)

    def main() -> None:
        with asyncio.Runner(loop_factory=event_loop_factory()) as runner:
            runner.run(run())

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
