"""Whether an owner may have more made just now: the one place in front of the store that asks rates and quotas."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

import structlog

from danqing.core.errors import Unavailable
from danqing.core.quotas import Quotas
from danqing.core.rate_limits import Rates, cost_of
from danqing.core.types import Job

log = structlog.get_logger(__name__)


class Admitted:
    """What `Admission.of` yields: jobs that may be stored."""

    def __init__(self) -> None:
        self.stored: frozenset[str] = frozenset()

    def keep(self, jobs: Sequence[Job]) -> None:
        """These were stored; for others nothing is charged."""
        self.stored = frozenset(job.id for job in jobs)


class Admission:
    """For one event loop. rates, quotas: None for no limit.

    per_owner: whether owners are told apart; where anybody may name any key, he could be somebody else each time.
    """

    def __init__(self, *, rates: Rates | None = None, quotas: Quotas | None = None, per_owner: bool = True) -> None:
        self._rates = rates
        self._quotas = quotas
        self._per_owner = per_owner

    @property
    def has_limits(self) -> bool:
        """Whether anything is asked for a new job."""
        return self._rates is not None or self._quotas is not None

    def of(self, jobs: Sequence[Job]) -> AbstractAsyncContextManager[Admitted]:
        """For new jobs of one owner, at least one. Raises RateLimited, QuotaExceeded or StorageFailure."""
        return self._of(jobs) if self.has_limits else nullcontext(Admitted())

    @asynccontextmanager
    async def _of(self, jobs: Sequence[Job]) -> AsyncGenerator[Admitted]:
        owner = jobs[0].owner if self._per_owner else None
        costs = {job.id: cost_of(job.request) for job in jobs}
        try:
            if self._rates is not None:
                await self._rates.take(owner, sum(costs.values()))
            try:
                if self._quotas is not None:
                    await self._quotas.take(owner, len(jobs))
            except BaseException:
                await self._give_back(owner, costs.values(), 0)
                raise
        except Unavailable as refusal:
            log.info("submit_refused", owner=owner, code=refusal.code, jobs=len(jobs))
            raise
        admitted = Admitted()
        try:
            yield admitted
        finally:
            unused = [cost for job_id, cost in costs.items() if job_id not in admitted.stored]
            await self._give_back(owner, unused, len(unused))

    async def _give_back(self, owner: str | None, costs: Iterable[float], jobs: int) -> None:
        if self._rates is not None:
            await self._rates.give_back(owner, sum(costs))
        if self._quotas is not None:
            await self._quotas.give_back(owner, jobs)
