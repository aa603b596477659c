"""A server whose pictures are made elsewhere: it takes jobs in and answers for them, one of several that do."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from danqing.config import Settings, env_files
from danqing.core.background import running
from danqing.core.pace import RecalledPace
from danqing.core.reconciling import FIRST_WITHIN_S, keep_reconciled
from danqing.http.tickets import LIFETIME_S, MAX_WAITING
from danqing.intake.sandboxed import SandboxedIntake
from danqing.queue.celery_app import celery_app
from danqing.queue.celery_publisher import CeleryPublisher
from danqing.shared.attendance import SharedAttendance
from danqing.shared.control import ControlSending
from danqing.shared.neighbours import SharedNeighbours
from danqing.shared.remote_pool import RemotePool
from danqing.shared.tickets import SharedTickets
from danqing.wiring.addresses import SharedAddresses
from danqing.wiring.hardware import build_catalogue, queued_models
from danqing.wiring.keeping import keeping_of
from danqing.wiring.keys import keys_of
from danqing.wiring.measuring import Measuring
from danqing.wiring.pictures import artifacts_that_may_be_away, check_folder
from danqing.wiring.runtime import Runtime
from danqing.wiring.services import Parts, services_of
from danqing.wiring.shared import (
    broker_of,
    look_at_links,
    open_events,
    open_shared_stores,
    redis_link,
    sweeper_of,
)
from danqing.wiring.start_wait import DATABASE, StartWait
from danqing.workers.waiting import within

log = structlog.get_logger(__name__)

PUBLISH_S = 5.0


@asynccontextmanager
async def open_api(
    settings: Settings, addresses: SharedAddresses, *, patient: bool = False, wait: StartWait | None = None
) -> AsyncGenerator[Runtime]:
    """On leaving closes. The broker may be away, Redis, and the object store; the database is waited for. patient: see
    `Measuring.at_work`.

    Raises InvalidSettings, UnknownModel, ModelLoadFailure or StorageFailure.
    """
    catalogue = await asyncio.to_thread(build_catalogue, settings)
    models = queued_models(catalogue)
    log.info("settings", env_files=[str(file.absolute()) for file in env_files()], **settings.masked())
    measuring = Measuring.of(settings, models)
    wait = wait or StartWait(most_s=settings.start_wait_s)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(measuring.at_work(patient=patient))
        await asyncio.to_thread(check_folder, settings.data_dir, "data directory")
        artifacts = await stack.enter_async_context(artifacts_that_may_be_away(settings))
        await look_at_links(addresses)
        opening = open_shared_stores(settings, wait, around=measuring.around)
        stores, shared = await stack.enter_async_context(opening)
        secret = await wait.until_there(DATABASE, stores.secret) if keys_of(settings).enabled else b""
        link = redis_link(addresses)
        stack.push_async_callback(link.aclose)
        events = await stack.enter_async_context(open_events(link, stores))
        broker = broker_of(settings, addresses, models)
        publisher = CeleryPublisher(celery_app(broker))
        publisher.start()
        stack.push_async_callback(lambda: asyncio.to_thread(publisher.close, within_s=PUBLISH_S))
        control = ControlSending(link)
        pool = RemotePool(shared.nodes, stop_job=control.stop_job, send_previews=control.send_previews)
        await pool.look()
        await stack.enter_async_context(running(pool.run(), name="pool"))
        measuring.look_at(
            pool=pool.status,
            jobs=stores.jobs,
            waiting=shared.line.waiting,
            dropped=lambda: events.dropped,
            unsent=publisher,
        )
        keeping = keeping_of(settings, kept=stores.kept, artifacts=artifacts, link=link)
        attendance = SharedAttendance(link)
        await stack.enter_async_context(attendance.at_work())
        neighbours = SharedNeighbours(link)
        await stack.enter_async_context(neighbours.at_work())
        intake = SandboxedIntake(artifacts)
        stack.push_async_callback(intake.close)

        async def stop(deadline_s: float) -> None:
            """Nodes go on; who waits here for what they make has until then."""
            await within(deadline_s, events.unwatched())
            events.close()

        runtime = Runtime(
            settings=settings,
            services=services_of(
                settings,
                Parts(
                    stores=stores,
                    queue=publisher,
                    pool=pool,
                    events=events,
                    catalogue=catalogue,
                    artifacts=artifacts,
                    intake=intake,
                    keeping=keeping,
                    pace=RecalledPace(events.completed_last),
                    attendance=attendance,
                    neighbours=neighbours,
                    measuring=measuring,
                    secret=secret,
                ),
            ),
            devices=(),
            measuring=measuring,
            stop=stop,
            tickets=SharedTickets(link, lifetime_s=LIFETIME_S, most=MAX_WAITING),
        )
        sweeper = sweeper_of(
            settings,
            stores=stores,
            shared=shared,
            queue=publisher,
            events=events,
            artifacts=artifacts,
            broker=broker,
            witness=measuring.witness,
            often=True,
        )
        await stack.enter_async_context(running(sweeper.run(), name="sweeper"))
        reconciling = keep_reconciled(
            stores.jobs,
            artifacts,
            stores.kept,
            exclusive=shared.exclusive,
            first_after_s=random.uniform(0.0, FIRST_WITHIN_S),
        )
        await stack.enter_async_context(running(reconciling, name="reconciling"))
        await stack.enter_async_context(keeping.at_work(exclusive=shared.exclusive))
        await stack.enter_async_context(stores.kept_indexed())
        await stack.enter_async_context(runtime.services.key_ring.kept_fresh())
        await stack.enter_async_context(runtime.services.machine_log.kept_going())
        stack.push_async_callback(runtime.halt)
        yield runtime
