"""What all Rates must do. A test module makes a subclass with `implementation` and a `rates` fixture."""

from typing import ClassVar

import pytest

from danqing.core.errors import RateLimited
from danqing.core.rate_limits import RateRule, Rates

RULE = RateRule(per_minute=60, burst=10)


class Clock:
    """Seconds, as a test wants them."""

    def __init__(self) -> None:
        self.s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.s


class RatesContract:
    """The suite. The rates are of RULE and go by the clock."""

    implementation: ClassVar[type]

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def rates(self, clock: Clock) -> Rates:
        raise NotImplementedError

    async def test_is_the_implementation_meant(self, rates: Rates) -> None:
        assert type(rates) is self.implementation

    async def test_who_has_had_enough_is_told_when_there_is_more(self, rates: Rates, clock: Clock) -> None:
        await rates.take("ann", 7)
        with pytest.raises(RateLimited) as caught:
            await rates.take("ann", 5)
        assert caught.value.retry_after_s == 2
        await rates.take("bob", 10)  # who is another one
        await rates.take(None, 10)

        clock.s += 2
        await rates.take("ann", 5)

    async def test_a_rest_fills_no_more_than_a_bucket(self, rates: Rates, clock: Clock) -> None:
        await rates.take("ann", 10)
        clock.s += 3600
        await rates.take("ann", 10)
        with pytest.raises(RateLimited):
            await rates.take("ann", 0.5)

    async def test_who_asks_for_more_than_a_bucket_holds_waits_longer_afterwards(
        self, rates: Rates, clock: Clock
    ) -> None:
        await rates.take("ann", 1)
        with pytest.raises(RateLimited) as caught:
            await rates.take("ann", 100)
        assert caught.value.retry_after_s == 1

        clock.s += 1
        await rates.take("ann", 100)
        with pytest.raises(RateLimited) as caught:
            await rates.take("ann", 10)
        assert caught.value.retry_after_s == 100

    async def test_what_came_to_nothing_costs_nothing(self, rates: Rates) -> None:
        await rates.take("ann", 10)
        await rates.give_back("ann", 10)
        await rates.give_back("ann", 10)
        await rates.take("ann", 10)
        with pytest.raises(RateLimited):
            await rates.take("ann", 1)

    async def test_small_steps_fill_as_much_as_large_ones(self, rates: Rates, clock: Clock) -> None:
        await rates.take("ann", 10)
        for _ in range(80):
            clock.s += 0.125
            await rates.give_back("ann", 1e-12)
        await rates.take("ann", 10)
