"""A node: `danqing worker`. Makes jobs of the shared store on this machine's devices, and answers nobody."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import structlog

from danqing.config import Settings
from danqing.core.background import outliving, running
from danqing.core.clock import utc_now
from danqing.core.errors import StorageFailure
from danqing.core.events import StateChanged
from danqing.core.ports import JobStore
from danqing.core.shared_store import Nodes
from danqing.core.witness import JobWitness
from danqing.events.redis_bus import RedisEventBus
from danqing.queue.celery_app import Broker, celery_app
from danqing.queue.celery_feed import CeleryFeed, FeedEnds
from danqing.queue.celery_taking import CeleryTaking, TakingRules
from danqing.shared.control import ControlHearing
from danqing.wiring.addresses import SharedAddresses
from danqing.wiring.hardware import build_catalogue, planned_workers, queued_models
from danqing.wiring.measuring import Measuring
from danqing.wiring.pictures import check_folder, open_artifacts
from danqing.wiring.rules import job_rules, worker_rules
from danqing.wiring.shared import (
    look_at_links,
    open_messages,
    open_shared_stores,
    sweeper_of,
)
from danqing.wiring.start_wait import PICTURES, StartWait
from danqing.workers.dispatcher import Dispatcher
from danqing.workers.factory import EngineFactory
from danqing.workers.node import NodeIdentity, NodeLife, new_node_id
from danqing.workers.supervisor import Supervisor
from danqing.workers.waiting import set_to

log = structlog.get_logger(__name__)

FEED_CHECK_S = 0.1
FEED_RETRY_S = 5.0
FEED_END_S = 10.0
NO_DEADLINE_S = 30 * 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class NodeRuntime:
    """For use from one event loop only. asked_to_drain: set by `danqing workers drain`, Flower or Celery."""

    id: str
    name: str
    devices: tuple[str, ...]
    models: tuple[str, ...]
    asked_to_drain: asyncio.Event
    stop: Callable[[float], Coroutine[None, None, None]]

    async def drain(self, *, deadline_s: float | None) -> None:
        """Takes no more jobs, and lets those that run end: within deadline_s, or however long it takes. What does not
        make it is given back. Fine to call again, with another deadline, once the first call was cancelled.
        """
        await self.stop(NO_DEADLINE_S if deadline_s is None else deadline_s)


def node_name(settings: Settings) -> str:
    """What people call it."""
    return settings.node_name or socket.gethostname()


@asynccontextmanager
async def open_node(
    settings: Settings, addresses: SharedAddresses, *, engine: EngineFactory | None = None
) -> AsyncGenerator[NodeRuntime]:
    """Waits for a database or an object store that is away, starts the workers, and takes jobs once one has its models
    loaded.

    On leaving halts: what has not ended is given back. engine: builds the engine in each worker; None for the one that
    the settings describe. Raises InvalidSettings, UnknownModel, ModelLoadFailure or StorageFailure.
    """
    name = node_name(settings)
    node_id = new_node_id(name)
    structlog.contextvars.bind_contextvars(node=node_id)
    catalogue = await asyncio.to_thread(build_catalogue, settings)
    models = queued_models(catalogue)
    specs = await planned_workers(settings, catalogue, engine=engine, node_id=node_id)
    measuring = Measuring.of(settings, models)
    wait = StartWait(most_s=settings.start_wait_s)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(measuring.at_work())
        await asyncio.to_thread(check_folder, settings.data_dir, "data directory")
        await look_at_links(addresses)
        artifacts = await wait.until_there(PICTURES, lambda: asyncio.to_thread(open_artifacts, settings))
        opening = open_shared_stores(settings, wait, around=measuring.around)
        stores, shared = await stack.enter_async_context(opening)
        messages = await stack.enter_async_context(open_messages(settings, addresses, stores, models))
        events, publisher = messages.events, messages.publisher
        taking = CeleryTaking(
            line=shared.line,
            publisher=publisher,
            rules=TakingRules(max_running_of_owner=settings.max_running_per_owner, max_passes=settings.model_passes),
            may_take=lambda: life.holds_its_lease,
        )
        supervisor = Supervisor(specs, rules=worker_rules(settings))
        dispatcher = Dispatcher(
            queue=taking,
            claiming=taking,
            store=stores.jobs,
            supervisor=supervisor,
            events=events,
            artifacts=artifacts,
            rules=job_rules(settings),
            witness=measuring.witness,
        )
        measuring.look_at(pool=supervisor.status, dropped=lambda: events.dropped, unsent=publisher)
        identity = NodeIdentity(id=node_id, name=name, started_at=utc_now(), lease_s=settings.lease_s)
        life = NodeLife(identity, nodes=shared.nodes, supervisor=supervisor, dispatcher=dispatcher)
        node = _Node(
            life=life,
            dispatcher=dispatcher,
            supervisor=supervisor,
            taking=taking,
            jobs=stores.jobs,
            events=events,
            broker=messages.broker,
            threads=len(specs),
            witness=measuring.witness,
        )
        stack.push_async_callback(life.leave)
        await stack.enter_async_context(running(life.run(), name="node-life"))
        stack.push_async_callback(node.stop, 0.0)
        dispatcher.start()
        await stack.enter_async_context(ControlHearing(messages.link, supervisor).at_work())
        sweeper = sweeper_of(
            settings,
            stores=stores,
            shared=shared,
            messages=messages,
            artifacts=artifacts,
            witness=measuring.witness,
        )
        await stack.enter_async_context(running(sweeper.run(), name="sweeper"))
        await stack.enter_async_context(running(node.feed(await _hostname(shared.nodes, identity)), name="feeding"))
        yield NodeRuntime(
            id=node_id,
            name=name,
            devices=tuple(spec.device for spec in specs),
            models=models,
            asked_to_drain=life.asked_to_drain,
            stop=node.stop,
        )


async def _hostname(nodes: Nodes, identity: NodeIdentity) -> str:
    """What Celery and Flower call it: by its name, or, where another one that lives has that, by its id."""
    with suppress(StorageFailure):
        if any(node.name == identity.name and node.id != identity.id for node in await nodes.alive()):
            return f"danqing@{identity.id}"
    return f"danqing@{identity.name}"


@dataclass(kw_only=True)
class _Node:
    """What happens to all of a node's parts at once."""

    life: NodeLife
    dispatcher: Dispatcher
    supervisor: Supervisor
    taking: CeleryTaking
    jobs: JobStore
    events: RedisEventBus
    broker: Broker
    threads: int
    witness: JobWitness
    celery: CeleryFeed | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    async def feed(self, hostname: str) -> None:
        """Fetches messages from when the first worker is ready, and none while no worker is: others are to have them.

        Until it is cancelled.
        """
        while self.life.draining or not (self._can_work() and self.life.holds_its_lease):  # noqa: ASYNC110
            await asyncio.sleep(FEED_CHECK_S)
        while True:
            pause_s = FEED_RETRY_S
            with outliving("feeding_failed", again_in_s=FEED_RETRY_S):
                if self.celery is None:
                    self.celery = self._begun(hostname)
                set_to(self.celery.paused, not self._can_work())
                pause_s = FEED_CHECK_S
            await asyncio.sleep(pause_s)

    def _begun(self, hostname: str) -> CeleryFeed:
        loop = asyncio.get_running_loop()
        ends = FeedEnds(
            asked_to_end=lambda: _soon(loop, self.life.asked_to_drain.set),
            revoked=lambda job_id: _soon(loop, lambda: self._spawn(self._cancel(job_id))),
        )
        app, models = celery_app(self.broker, self.taking.deliver), self.broker.models
        celery = CeleryFeed(app, models=models, hostname=hostname, threads=self.threads, ends=ends)
        celery.start()
        return celery

    def _can_work(self) -> bool:
        return self.supervisor.status().model_loaded

    async def stop(self, deadline_s: float) -> None:
        """See `NodeRuntime.drain`."""
        self.life.draining = True  # so that none is fetched, if none was yet
        if self.celery is not None:
            self.celery.end()
        await self.dispatcher.stop(deadline_s=deadline_s)
        self.taking.close()
        if self.celery is not None and not await asyncio.to_thread(self.celery.join, FEED_END_S):
            log.warning("celery_worker_not_ended", waited_s=FEED_END_S)

    async def _cancel(self, job_id: str) -> None:
        """Its task was revoked, in Flower say."""
        with suppress(StorageFailure):
            cancelled = await self.jobs.cancel(job_id, utc_now())
            if cancelled is not None:
                log.info("job_revoked", job_id=job_id)
                self.witness.ended(cancelled)
                self.events.publish(StateChanged(job=cancelled))
                await self.supervisor.stop_job(job_id)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(call)
