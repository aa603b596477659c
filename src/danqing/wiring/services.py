"""What routes may use, put together from the parts that answer for it."""

from dataclasses import dataclass, field
from datetime import timedelta

from danqing.config import Settings
from danqing.core.attendance import Attendance
from danqing.core.clock import utc_now
from danqing.core.gallery import Gallery
from danqing.core.issued_keys import KeyRing
from danqing.core.neighbours import Neighbours, NoNeighbours
from danqing.core.pace import Forecast
from danqing.core.picture_ports import ArtifactStore, ImageIntake
from danqing.core.ports import EventBus, JobQueue, ModelCatalogue, WorkerPool
from danqing.core.removal import Removal
from danqing.core.studio import Studio
from danqing.http.dialect import DialectOptions, Services
from danqing.http.machine_log import MachineLog
from danqing.http.picture_links import PictureLinks
from danqing.http.standing import Standing
from danqing.wiring.keeping import Keeping
from danqing.wiring.keys import keys_of
from danqing.wiring.measuring import Measuring
from danqing.wiring.rules import limits
from danqing.wiring.stores import Stores


@dataclass(frozen=True, kw_only=True)
class Parts:
    """secret: of this server or, where several processes answer, of all; empty where keys are not asked for."""

    stores: Stores
    queue: JobQueue
    pool: WorkerPool
    events: EventBus
    catalogue: ModelCatalogue
    artifacts: ArtifactStore
    intake: ImageIntake
    keeping: Keeping
    pace: Forecast
    attendance: Attendance | None = None
    neighbours: Neighbours = field(default_factory=NoNeighbours)
    measuring: Measuring
    secret: bytes


def services_of(settings: Settings, parts: Parts) -> Services:
    """Does nothing yet."""
    studio = Studio(
        store=parts.stores.jobs,
        queue=parts.queue,
        pool=parts.pool,
        events=parts.events,
        catalogue=parts.catalogue,
        artifacts=parts.artifacts,
        limits=limits(settings),
        secret=parts.secret,
        pace=parts.pace,
        admission=parts.keeping.admission,
        inputs=parts.keeping.inputs,
        answered=parts.keeping.answered,
        attendance=parts.attendance,
        witness=parts.measuring.witness,
    )
    key_ring = KeyRing(parts.stores.issued_keys, clock=utc_now)
    return Services(
        studio=studio,
        gallery=Gallery(parts.stores.batches),
        subscriptions=parts.stores.subscriptions,
        artifacts=parts.artifacts,
        intake=parts.intake,
        removal=Removal(studio=studio, kept=parts.stores.kept, artifacts=parts.artifacts, inputs=parts.keeping.inputs),
        key_ring=key_ring,
        standing=Standing(keys_of(settings, issued=key_ring)),
        machine_log=MachineLog(queue=studio.queue_status, pool=studio.pool_status),
        links=PictureLinks(parts.secret or None),
        neighbours=parts.neighbours,
        options=dialect_options(settings),
    )


def dialect_options(settings: Settings) -> DialectOptions:
    """What all dialects of a server go by."""
    return DialectOptions(
        request_timeout_s=settings.request_timeout_s,
        submit_key_lifetime=timedelta(hours=settings.idempotency_hours),
        environment=settings.environment,
        public_url=settings.public_url,
        log_prompts=settings.log_prompts,
        needs_key=keys_of(settings).enabled,
    )
