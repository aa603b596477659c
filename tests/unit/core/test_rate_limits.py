"""How much may be asked for in a while."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danqing.core import rate_limits
from danqing.core.errors import RateLimited
from danqing.core.rate_limits import LEAST_COST, RateLimit, cost_of
from tests.contracts.rates import RULE, Clock, RatesContract
from tests.fakes.domain import a_request


class TestRateLimit(RatesContract):
    implementation = RateLimit

    @pytest.fixture
    def rates(self, clock: Clock) -> RateLimit:
        return RateLimit(RULE, now=clock)


def test_what_a_picture_costs() -> None:
    assert cost_of(a_request(width=1000, height=2000, num_inference_steps=9)) == 18
    assert cost_of(a_request(width=64, height=64, num_inference_steps=1)) == LEAST_COST


async def test_owners_who_are_not_heard_of_any_more_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    limit = RateLimit(RULE, now=clock)
    monkeypatch.setattr(rate_limits, "MAX_BUCKETS", 50)
    await limit.take("ann", 10)
    for number in range(500):
        await limit.take(f"owner {number}", 0.001)
        clock.s += 0.01
    assert len(limit._buckets) <= 51
    with pytest.raises(RateLimited):  # one who owes is not forgotten
        await limit.take("ann", 10)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.01, 30)), max_size=60))
def test_no_more_than_the_rate_and_a_bucket_in_any_time(asked: list[tuple[float, float]]) -> None:
    asyncio.run(takes_no_more(asked))


async def takes_no_more(asked: list[tuple[float, float]]) -> None:
    clock = Clock()
    began, limit, had = clock.s, RateLimit(RULE, now=clock), 0.0
    largest = 0.0
    for pause, cost in asked:
        clock.s += pause
        try:
            await limit.take("ann", cost)
        except RateLimited as refused:
            assert refused.retry_after_s is not None
            clock.s += refused.retry_after_s
            await limit.take("ann", cost)  # as it was told
        had, largest = had + cost, max(largest, cost)
        assert had <= 10 + (clock.s - began) * 1 + max(0.0, largest - 10) + 1e-6
