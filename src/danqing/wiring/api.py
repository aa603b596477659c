"""A server whose pictures are made elsewhere: it takes jobs in and answers for them, one of several that do."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from danqing.config import Settings
from danqing.core.background import running
from danqing.core.pace import RecalledPace
from danqing.core.picture_ports import ArtifactStore
from danqing.core.reconciling import FIRST_WITHIN_S, keep_reconciled
from danqing.core.tickets import LIFETIME_S, MAX_WAITING
from danqing.intake.sandboxed import SandboxedIntake
from danqing.redis_link import RedisLink
from danqing.shared.attendance import SharedAttendance
from danqing.shared.control import ControlSending
from danqing.shared.neighbours import SharedNeighbours
from danqing.shared.remote_pool import RemotePool
from danqing.shared.tickets import SharedTickets
from danqing.wiring.addresses import SharedAddresses
from danqing.wiring.hardware import build_catalogue, queued_models
from danqing.wiring.keeping import Keeping, keeping_of
from danqing.wiring.keys import secret_of
from danqing.wiring.measuring import Measuring
from danqing.wiring.pictures import artifacts_that_may_be_away, check_folder
from danqing.wiring.runtime import Runtime, log_settings
from danqing.wiring.services import Parts, services_of
from danqing.wiring.shared import (
    look_at_links,
    open_messages,
    open_shared_stores,
    sweeper_of,
)
from danqing.wiring.start_wait import StartWait
from danqing.wiring.stores import Shared, Stores
from danqing.workers.sweeper import Sweeper
from danqing.workers.waiting import within


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
    log_settings(settings)
    measuring = Measuring.of(settings, models)
    wait = wait or StartWait(most_s=settings.start_wait_s)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(measuring.at_work(patient=patient))
        await asyncio.to_thread(check_folder, settings.data_dir, "data directory")
        artifacts = await stack.enter_async_context(artifacts_that_may_be_away(settings))
        await look_at_links(addresses)
        opening = open_shared_stores(settings, wait, around=measuring.around)
        stores, shared = await stack.enter_async_context(opening)
        secret = await secret_of(settings, stores, wait)
        messages = await stack.enter_async_context(open_messages(settings, addresses, stores, models))
        link, events, publisher = messages.link, messages.events, messages.publisher
        pool = await stack.enter_async_context(_open_pool(shared, link))
        measuring.look_at(
            pool=pool.status,
            jobs=stores.jobs,
            waiting=shared.line.waiting,
            dropped=lambda: events.dropped,
            unsent=publisher,
        )
        neighbours = SharedNeighbours(link)
        keeping = keeping_of(settings, kept=stores.kept, artifacts=artifacts, link=link, neighbours=neighbours)
        attendance = SharedAttendance(link)
        await stack.enter_async_context(attendance.at_work())
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
            messages=messages,
            artifacts=artifacts,
            witness=measuring.witness,
            often=True,
        )
        await stack.enter_async_context(_taking_turns(sweeper, stores, shared, artifacts, keeping))
        await stack.enter_async_context(runtime.at_work(stores))
        yield runtime


@asynccontextmanager
async def _open_pool(shared: Shared, link: RedisLink) -> AsyncGenerator[RemotePool]:
    """The nodes' workers, as they are now, and looked at again and again inside."""
    control = ControlSending(link)
    pool = RemotePool(shared.nodes, stop_job=control.stop_job, send_previews=control.send_previews)
    await pool.look()
    async with running(pool.run(), name="pool"):
        yield pool


@asynccontextmanager
async def _taking_turns(
    sweeper: Sweeper, stores: Stores, shared: Shared, artifacts: ArtifactStore, keeping: Keeping
) -> AsyncGenerator[None]:
    """Inside, what is done for all processes goes on, each thing by one of them at a time."""
    reconciling = keep_reconciled(
        stores.jobs,
        artifacts,
        stores.kept,
        exclusive=shared.exclusive,
        first_after_s=random.uniform(0.0, FIRST_WITHIN_S),
    )
    async with (
        running(sweeper.run(), name="sweeper"),
        running(reconciling, name="reconciling"),
        keeping.at_work(exclusive=shared.exclusive),
    ):
        yield
