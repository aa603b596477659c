"""What all Tickets must do. A test module makes a subclass with `implementation` and a `tickets` fixture."""

from typing import ClassVar

import pytest

from danqing.core.callers import LOCAL, Caller
from danqing.core.tickets import LIFETIME_S, Tickets

ANN = Caller(owner="key-ann", own_history=True)


class Clock:
    """Seconds, as a test wants them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class TicketsContract:
    """The suite. The tickets go by the clock, and are good for LIFETIME_S; MOST are held."""

    implementation: ClassVar[type]
    most: ClassVar[int]

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def tickets(self, clock: Clock) -> Tickets:
        raise NotImplementedError

    async def test_is_the_implementation_meant(self, tickets: Tickets) -> None:
        assert type(tickets) is self.implementation

    async def test_a_ticket_is_good_once_for_whom_it_was_issued_to(self, tickets: Tickets) -> None:
        one, two = await tickets.issue(ANN), await tickets.issue(LOCAL)

        assert [await tickets.redeem(two), await tickets.redeem(one)] == [LOCAL, ANN]
        assert [await tickets.redeem(two), await tickets.redeem(one)] == [None, None]

    async def test_what_was_never_issued_opens_nothing(self, tickets: Tickets) -> None:
        await tickets.issue(ANN)

        assert await tickets.redeem("") is None
        assert await tickets.redeem("ü" * 43) is None

    async def test_a_ticket_expires(self, tickets: Tickets, clock: Clock) -> None:
        early = await tickets.issue(ANN)
        clock.now += LIFETIME_S - 1
        late = await tickets.issue(ANN)
        clock.now += 1

        assert await tickets.redeem(early) is None
        assert await tickets.redeem(late) == ANN

    async def test_tickets_that_nobody_uses_do_not_pile_up(self, tickets: Tickets, clock: Clock) -> None:
        oldest = await tickets.issue(ANN)
        newer: list[str] = []
        for _ in range(self.most):
            clock.now += 0.001
            newer.append(await tickets.issue(ANN))

        assert await tickets.redeem(oldest) is None
        assert await tickets.redeem(newer[0]) == ANN
        assert await tickets.redeem(newer[-1]) == ANN
