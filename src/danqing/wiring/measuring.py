"""What the operator sees of a process: figures and, where they are wanted, traces. Built before what they look at."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from danqing.config import InvalidSettings, Settings
from danqing.core.clock import utc_now
from danqing.core.extras import how_to_install
from danqing.core.ports import JobStore
from danqing.core.types import PoolStatus
from danqing.core.witness import JobWitness, Witnesses
from danqing.http.app import Watching
from danqing.http.exchange import ExchangeWitness
from danqing.http.listeners import CannotListen, Listener, open_listeners
from danqing.http.metrics import MetricsRoute, build_metrics_app
from danqing.http.origins import GateRules, is_loopback
from danqing.http.server import serving_beside
from danqing.metrics.panel import MetricsPanel
from danqing.metrics.readings import JobReadings, ReadWaiting
from danqing.metrics.text_format import CONTENT_TYPE
from danqing.store.database import Database
from danqing.store.timed_database import TimedDatabase

if TYPE_CHECKING:
    from danqing.tracing.traces import Traces

log = structlog.get_logger(__name__)


class Unsent(Protocol):
    """Messages that wait for their broker: how many, and for how long the oldest has."""

    @property
    def waiting(self) -> int: ...

    @property
    def waiting_s(self) -> float: ...


RETRY_S = 1.0  # between two tries at a port that somebody has


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """Made by `of`. witness: for the Studio and the dispatcher. watching: for the apps."""

    settings: Settings
    models: tuple[str, ...]
    panel: MetricsPanel
    witness: JobWitness
    watching: Watching
    traces: "Traces | None" = None

    @classmethod
    def of(cls, settings: Settings, models: Collection[str]) -> "Measuring":
        """models: ids of those on offer. Raises InvalidSettings."""
        panel = MetricsPanel(models=models)
        witnesses: list[JobWitness] = [panel.jobs]
        exchanges: list[ExchangeWitness] = [panel.http]
        if (traces := _traces() if settings.otel else None) is not None:
            witnesses.append(traces.jobs)
            exchanges.append(traces.exchanges)
        route = MetricsRoute(read=panel.page, content_type=CONTENT_TYPE)
        return cls(
            settings=settings,
            models=tuple(models),
            panel=panel,
            witness=Witnesses(*witnesses),
            watching=Watching(exchanges=exchanges, metrics=route),
            traces=traces,
        )

    def look_at(
        self,
        *,
        pool: Callable[[], PoolStatus],
        jobs: JobStore | None = None,
        waiting: ReadWaiting | None = None,
        dropped: Callable[[], Mapping[str, int]] | None = None,
        unsent: Unsent | None = None,
    ) -> None:
        """Where to read what is told only when somebody asks. Once. jobs, waiting: of the store, both or none; a node
        needs none, for every API process tells them. dropped: events that slow watchers were not told, by kind. unsent:
        what has still to be sent to a broker.
        """
        if unsent is not None:
            self.panel.watch_unsent(lambda: unsent.waiting, lambda: unsent.waiting_s)
        self.panel.watch_pool(pool)
        if jobs is not None and waiting is not None:
            self.panel.watch_jobs(
                JobReadings(
                    unfinished=jobs.unfinished_counts,
                    waiting=waiting,
                    counts=jobs.counts,
                    models=self.models,
                    clock=utc_now,
                )
            )
        if dropped is not None:
            self.panel.watch_events(dropped)

    def around(self, database: Database) -> Database:
        """For the stores: the same database, with its calls timed."""
        return TimedDatabase(database, self.panel.store.timed)

    @asynccontextmanager
    async def at_work(self, *, patient: bool = False) -> AsyncGenerator[None]:
        """While inside, the port for Prometheus is open, if one is wanted.

        patient: one that somebody has is opened once it is free: an earlier server is about to end, or there are
        several processes, of which one gets it. Raises CannotListen.
        """
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close)
            if self.settings.metrics_port is not None:
                try:
                    await stack.enter_async_context(self._port(self.settings.metrics_port))
                except CannotListen as exc:
                    if not patient:
                        raise
                    log.warning("metrics_port_taken", reason=str(exc))
                    await stack.enter_async_context(self._port_when_free(self.settings.metrics_port))
            yield

    @asynccontextmanager
    async def _port(self, port: int) -> AsyncGenerator[None]:
        listener = Listener(host=self.settings.metrics_host, port=port, dialect="metrics")
        with open_listeners([listener]) as (opened,):
            app = build_metrics_app(_route(self.panel), rules=_rules(self.settings.metrics_host))
            async with serving_beside(opened, app):
                yield

    @asynccontextmanager
    async def _port_when_free(self, port: int) -> AsyncGenerator[None]:
        done = asyncio.Event()

        async def try_on() -> None:
            while not done.is_set():
                with suppress(CannotListen):
                    async with self._port(port):
                        await done.wait()
                with suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), RETRY_S)

        trying = asyncio.create_task(try_on(), name="metrics-port")
        try:
            yield
        finally:
            done.set()
            await trying

    async def _close(self) -> None:
        self.panel.close()
        if self.traces is not None:
            await asyncio.to_thread(self.traces.close)


def _traces() -> "Traces":
    try:
        from danqing.tracing.traces import Traces
    except ImportError as exc:
        raise InvalidSettings(f"DANQING_OTEL: OpenTelemetry is not installed: {how_to_install('otel')}.") from exc
    return Traces()


def _route(panel: MetricsPanel) -> MetricsRoute:
    return MetricsRoute(read=panel.page, content_type=CONTENT_TYPE)


def _rules(host: str) -> GateRules:
    """On an address of this machine alone no name but its own leads there, so no page can give it one. On others it is
    called by whatever name, or address, Prometheus finds it under.
    """
    return GateRules(loopback_only=is_loopback(host))
