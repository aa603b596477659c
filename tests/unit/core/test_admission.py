"""Rates and quotas where jobs are accepted: what is charged, and to whom."""

from datetime import datetime
from pathlib import Path

import pytest

from danqing.core.admission import Admission
from danqing.core.callers import Caller
from danqing.core.errors import QueueFull, QuotaExceeded, RateLimited
from danqing.core.keeping import KeptBytes
from danqing.core.orders import Limits, Order
from danqing.core.quotas import LocalDayCounts, Quota, Quotas
from danqing.core.rate_limits import RateLimit, RateRule
from danqing.core.studio import Studio
from danqing.core.submitting import Join
from danqing.core.types import RequestDraft
from danqing.events.in_process import InProcessEventBus
from tests.fakes.domain import NOW, a_card
from tests.fakes.job_store import InMemoryJobStore
from tests.fakes.studio_parts import FixedCatalogue, RecordingQueue, StillPool
from tests.unit.core.test_quotas import Kept

ANN, BOB = Caller(owner="ann"), Caller(owner="bob")
SIDE = 1000


def an_order(seed: int = 1, **terms: object) -> Order:
    """Costs 1 MP times 5 steps."""
    draft = RequestDraft(prompt="pizza", seed=seed, width=SIDE, height=SIDE, num_inference_steps=5)
    return Order(draft=draft, **terms)  # pyright: ignore[reportArgumentType]


def a_studio(
    root: Path, *, burst: float = 12, pictures: int | None = None, per_owner: bool = True, queue: int = 100
) -> Studio:
    def now() -> datetime:
        return NOW

    kept = Kept()
    sizes, days = KeptBytes(kept, None), LocalDayCounts(kept=kept, now=now)  # type: ignore[arg-type]
    quotas = Quotas(Quota(jobs_per_day=pictures), days=days, sizes=sizes, now=now)
    rates = RateLimit(RateRule(per_minute=1, burst=burst), now=lambda: 0.0)
    return Studio(
        store=InMemoryJobStore(),
        queue=RecordingQueue(),
        pool=StillPool(),
        events=InProcessEventBus(),
        catalogue=FixedCatalogue(a_card()),
        artifacts=None,  # type: ignore[arg-type] - no picture is sent
        limits=Limits(max_queue_size=queue),
        admission=Admission(rates=rates, quotas=quotas, per_owner=per_owner),
    )


async def test_who_asks_for_too_much_gets_nothing_of_it(tmp_path: Path) -> None:
    studio = a_studio(tmp_path)
    await studio.submit(an_order(), caller=ANN)
    with pytest.raises(RateLimited) as caught:
        await studio.submit_all([an_order(2), an_order(3)], caller=ANN)
    assert caught.value.retry_after_s == 180  # 3 of 10 are missing, at 1 a minute

    # Then others are not concerned, and less is still to be had
    await studio.submit(an_order(), caller=BOB)
    await studio.submit(an_order(2), caller=ANN)
    assert (await studio.queue_status()).pending == 3


async def test_what_joins_an_equal_job_is_free(tmp_path: Path) -> None:
    studio = a_studio(tmp_path)
    jobs = [await studio.submit(an_order(join=Join.ALSO_DONE), caller=ANN) for _ in range(20)]
    assert len({job.id for job in jobs}) == 1


async def test_what_finds_no_room_is_not_charged(tmp_path: Path) -> None:
    studio = a_studio(tmp_path, pictures=2, queue=1)
    await studio.submit(an_order(), caller=ANN)
    for _ in range(5):
        with pytest.raises(QueueFull):
            await studio.submit(an_order(2), caller=ANN)
    for job in await studio._store.unfinished():
        await studio.cancel(job.id)
    await studio.submit(an_order(2), caller=ANN)
    with pytest.raises(RateLimited):
        await studio.submit(an_order(3), caller=ANN)


async def test_a_quota_that_is_used_up_costs_no_work(tmp_path: Path) -> None:
    studio = a_studio(tmp_path, pictures=1, burst=10)
    await studio.submit(an_order(), caller=ANN)
    for _ in range(5):
        with pytest.raises(QuotaExceeded):
            await studio.submit(an_order(2), caller=ANN)


async def test_where_anybody_may_be_anybody_all_share_one_bucket(tmp_path: Path) -> None:
    studio = a_studio(tmp_path, per_owner=False)
    await studio.submit(an_order(), caller=ANN)
    await studio.submit(an_order(), caller=BOB)
    with pytest.raises(RateLimited):
        await studio.submit(an_order(), caller=Caller(owner="somebody new"))
