"""The parts that API processes and nodes share, opened alike in both."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from danqing.config import InvalidSettings, Settings
from danqing.core.clock import utc_now
from danqing.core.picture_ports import ArtifactStore
from danqing.core.witness import JobWitness
from danqing.events.redis_bus import RedisEventBus
from danqing.queue.celery_app import Broker, celery_app
from danqing.queue.celery_depths import CeleryDepths
from danqing.queue.celery_publisher import CeleryPublisher
from danqing.redis_link import NotARedisUrl, RedisLink
from danqing.wiring.addresses import SharedAddresses
from danqing.wiring.part_states import PartAway, check_link
from danqing.wiring.rules import job_rules
from danqing.wiring.start_wait import DATABASE, StartWait
from danqing.wiring.stores import Around, Shared, Stores, open_stores
from danqing.workers.patient_store import PatientStore
from danqing.workers.settlement import Settlement
from danqing.workers.sweeper import Sweeper, SweepRules

log = structlog.get_logger(__name__)

PUBLISH_S = 5.0
SWEEP_S = 2.0
LEAST_LONGEST_S = 3600.0
SILENT_LEASES = 0.4  # two beats
MOST_SENT = 1000
MOST_SENT_WITH_LIMITS = 50


@asynccontextmanager
async def open_shared_stores(
    settings: Settings, wait: StartWait, *, around: Around = lambda database: database
) -> AsyncGenerator[tuple[Stores, Shared]]:
    """Waits for a database that is away. around: see `open_stores`, also for what it raises."""
    async with AsyncExitStack() as stack:
        stores = await wait.until_there(
            DATABASE, lambda: stack.enter_async_context(open_stores(settings, alone=False, around=around))
        )
        if stores.shared is None:
            raise InvalidSettings("DATABASE_URL must name a database that several processes can share.")
        yield stores, stores.shared


async def look_at_links(shared: SharedAddresses) -> None:
    """At a start: Redis and the broker may be away, which the log tells; the process goes on, and finds them later. One
    that says no is a mistake in the settings. Raises InvalidSettings.
    """
    links = {"REDIS_URL": shared.redis}
    if shared.broker != shared.redis:
        links["CELERY_BROKER_URL"] = shared.broker
    for setting, url in links.items():
        try:
            await asyncio.to_thread(check_link, url)
        except PartAway as exc:
            if exc.says_no:
                raise InvalidSettings(f"{setting}: {exc}") from exc
            log.warning("part_away", setting=setting, reason=str(exc), hint="the start goes on, and it is tried again")


@dataclass(frozen=True, kw_only=True)
class Messages:
    """What a process hears from the others, and tells them. publisher: sends the broker's messages."""

    link: RedisLink
    events: RedisEventBus
    broker: Broker
    publisher: CeleryPublisher


@asynccontextmanager
async def open_messages(
    settings: Settings, addresses: SharedAddresses, stores: Stores, models: Sequence[str]
) -> AsyncGenerator[Messages]:
    """Waits neither for Redis nor for the broker. On leaving, what is not published yet has a few seconds.

    Raises InvalidSettings.
    """
    link = _redis_link(addresses)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(link.aclose)
        events = RedisEventBus(link, store=stores.jobs)
        await stack.enter_async_context(events.at_work())
        broker = _broker(settings, addresses, models)
        publisher = CeleryPublisher(celery_app(broker))
        publisher.start()
        stack.push_async_callback(lambda: asyncio.to_thread(publisher.close, within_s=PUBLISH_S))
        yield Messages(link=link, events=events, broker=broker, publisher=publisher)


def _redis_link(shared: SharedAddresses) -> RedisLink:
    try:
        return RedisLink(shared.redis.get_secret_value())
    except NotARedisUrl as exc:
        raise InvalidSettings(f"REDIS_URL: {exc}") from exc


def _broker(settings: Settings, shared: SharedAddresses, models: Sequence[str]) -> Broker:
    """A message stays in a worker's hands as long as its device is busy, at most as long as a whole batch may take."""
    longest_s = 2 * settings.task_timeout_s * settings.batch_pictures
    return Broker(
        url=shared.broker.get_secret_value(),
        models=tuple(models),
        longest_s=max(LEAST_LONGEST_S, longest_s),
        shutdown_s=settings.drain_deadline_s,
    )


def sweeper_of(
    settings: Settings,
    *,
    stores: Stores,
    shared: Shared,
    messages: Messages,
    artifacts: ArtifactStore,
    witness: JobWitness,
    often: bool = False,
) -> Sweeper:
    """Does nothing yet. often: for API processes, which are few; nodes take turns."""
    rules = job_rules(settings)
    settlement = Settlement(
        store=stores.jobs,
        patient_store=PatientStore(stores.jobs, rules),
        queue=messages.publisher,
        events=messages.events,
        artifacts=artifacts,
        rules=rules,
        clock=utc_now,
        witness=witness,
    )
    return Sweeper(
        nodes=shared.nodes,
        line=shared.line,
        queue=messages.publisher,
        settlement=settlement,
        depths=CeleryDepths(celery_app(messages.broker)).of,
        exclusive=shared.exclusive,
        rules=SweepRules(
            longest_s=SWEEP_S if often else settings.lease_s,
            tells=often,
            silence_s=SILENT_LEASES * settings.lease_s,
            # Jobs of owners who have enough running have no messages, and are no reason to send many.
            most_sent=MOST_SENT if settings.max_running_per_owner is None else MOST_SENT_WITH_LIMITS,
        ),
    )
