"""From settings to what an owner may have, and how long it is kept."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from danqing.config import Settings
from danqing.core.admission import Admission
from danqing.core.answered import Answered
from danqing.core.background import running
from danqing.core.clock import utc_now
from danqing.core.exclusive import Exclusive
from danqing.core.janitor import Janitor, Retention
from danqing.core.keeping import KeptBytes, KeptJobs
from danqing.core.neighbours import Neighbours
from danqing.core.picture_ports import ArtifactStore
from danqing.core.quotas import LocalDayCounts, Quota, Quotas
from danqing.core.rate_limits import RateLimit, RateRule, Rates
from danqing.core.reconciling import SHARED_AFTER_S
from danqing.core.taking_over import InputImages
from danqing.http.origins import is_loopback
from danqing.redis_link import RedisLink
from danqing.shared.day_counts import SharedDayCounts
from danqing.shared.rates import SharedRates
from danqing.wiring.keys import keys_of

RATE_ON_A_NETWORK = 6000.0  # megapixel-steps a minute: far more than a device makes, far less than a flood
BURST_MINUTES = 5


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """inputs, answered: to be shared with the Studio, which must not take over what the janitor just removes; and what
    it answers with, the janitor must not remove.
    """

    admission: Admission
    inputs: InputImages
    answered: Answered
    quotas: Quotas
    janitor: Janitor

    @asynccontextmanager
    async def at_work(self, *, exclusive: Exclusive | None = None) -> AsyncGenerator[None]:
        """Inside, the janitor sweeps. exclusive: see there; None where no other process does. Raises StorageFailure."""
        await self.quotas.load()
        sweeping = self.janitor.run(exclusive=exclusive) if exclusive else self.janitor.run()
        async with running(sweeping, name="janitor"):
            yield


def keeping_of(
    settings: Settings,
    *,
    kept: KeptJobs,
    artifacts: ArtifactStore,
    link: RedisLink | None = None,
    neighbours: Neighbours | None = None,
) -> Keeping:
    """Does nothing yet. link, neighbours: where others accept jobs too, and what is asked for is counted together."""
    sizes, answered = KeptBytes(kept, artifacts), Answered(neighbours=neighbours)
    shared = settings.redis_url is not None or settings.broker_url is not None
    inputs = InputImages(artifacts, kept_s=SHARED_AFTER_S if shared else 0.0)
    per_owner = not keys_of(settings).let_anybody_in
    quota = Quota(jobs_per_day=settings.daily_pictures, kept_bytes=_bytes(settings.quota_gb))
    quotas = Quotas(
        quota,
        days=(
            LocalDayCounts(kept=kept, now=utc_now, per_owner=per_owner)
            if link is None
            else SharedDayCounts(link, kept=kept, now=utc_now, per_owner=per_owner)
        ),
        sizes=sizes,
        now=utc_now,
    )
    return Keeping(
        admission=Admission(
            rates=_rates(settings, link), quotas=None if quota == Quota() else quotas, per_owner=per_owner
        ),
        inputs=inputs,
        answered=answered,
        quotas=quotas,
        janitor=Janitor(
            Retention(
                max_age=None if settings.retention_days is None else timedelta(days=settings.retention_days),
                max_bytes=_bytes(settings.retention_gb),
            ),
            kept=kept,
            sizes=sizes,
            artifacts=artifacts,
            inputs=inputs,
            answered=answered,
        ),
    )


def rate_rule(settings: Settings) -> RateRule | None:
    """None for no limit, which is also what there is on this machine alone unless a setting says otherwise."""
    per_minute = settings.rate_limit
    if per_minute is None:
        per_minute = 0.0 if is_loopback(settings.host) else RATE_ON_A_NETWORK
    if per_minute == 0:
        return None
    return RateRule(per_minute=per_minute, burst=settings.rate_burst or BURST_MINUTES * per_minute)


def _rates(settings: Settings, link: RedisLink | None) -> Rates | None:
    rule = rate_rule(settings)
    if rule is None or link is None:
        return rule and RateLimit(rule)
    return SharedRates(link, rule)


def _bytes(gigabytes: float | None) -> int | None:
    return None if gigabytes is None else int(gigabytes * 1e9)
