"""How much may be asked for in a while."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danqing.core import rate_limits
from danqing.core.errors import RateLimited
from danqing.core.rate_limits import LEAST_COST, RateLimit, RateRule, cost_of
from tests.fakes.domain import a_request


class Clock:
    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limit(clock: Clock) -> RateLimit:
    return RateLimit(RateRule(per_minute=60, burst=10), now=clock)


def test_what_a_picture_costs() -> None:
    assert cost_of(a_request(width=1000, height=2000, num_inference_steps=9)) == 18
    assert cost_of(a_request(width=64, height=64, num_inference_steps=1)) == LEAST_COST


def test_who_has_had_enough_is_told_when_there_is_more(limit: RateLimit, clock: Clock) -> None:
    limit.take("ann", 7)
    with pytest.raises(RateLimited) as caught:
        limit.take("ann", 5)
    assert caught.value.retry_after_s == 2
    limit.take("bob", 10)  # who is another one

    clock.s += 2
    limit.take("ann", 5)


def test_a_rest_fills_no_more_than_a_bucket(limit: RateLimit, clock: Clock) -> None:
    limit.take("ann", 10)
    clock.s += 3600
    limit.take("ann", 10)
    with pytest.raises(RateLimited):
        limit.take("ann", 0.5)


def test_who_asks_for_more_than_a_bucket_holds_waits_longer_afterwards(limit: RateLimit, clock: Clock) -> None:
    limit.take("ann", 1)
    with pytest.raises(RateLimited) as caught:
        limit.take("ann", 100)
    assert caught.value.retry_after_s == 1

    clock.s += 1
    limit.take("ann", 100)
    with pytest.raises(RateLimited) as caught:
        limit.take("ann", 10)
    assert caught.value.retry_after_s == 100


def test_what_came_to_nothing_costs_nothing(limit: RateLimit) -> None:
    limit.take("ann", 10)
    limit.give_back("ann", 10)
    limit.give_back("ann", 10)
    limit.take("ann", 10)
    with pytest.raises(RateLimited):
        limit.take("ann", 1)


def test_owners_who_are_not_heard_of_any_more_take_no_memory(
    limit: RateLimit, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limits, "MAX_BUCKETS", 50)
    limit.take("ann", 10)
    for number in range(500):
        limit.take(f"owner {number}", 0.001)
        clock.s += 0.01
    assert len(limit._buckets) <= 51
    with pytest.raises(RateLimited):  # one who owes is not forgotten
        limit.take("ann", 10)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.01, 30)), max_size=60))
def test_no_more_than_the_rate_and_a_bucket_in_any_time(asked: list[tuple[float, float]]) -> None:
    clock = Clock()
    began, limit, had = clock.s, RateLimit(RateRule(per_minute=60, burst=10), now=clock), 0.0
    largest = 0.0
    for pause, cost in asked:
        clock.s += pause
        try:
            limit.take("ann", cost)
        except RateLimited as refused:
            clock.s += refused.retry_after_s
            limit.take("ann", cost)  # as it was told
        had, largest = had + cost, max(largest, cost)
        assert had <= 10 + (clock.s - began) * 1 + max(0.0, largest - 10) + 1e-6
