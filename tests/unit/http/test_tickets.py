"""Tickets open once, and not for ever."""

from danqing.core.callers import LOCAL, Caller
from danqing.http import tickets as module
from danqing.http.tickets import LIFETIME_S, Tickets

ANN = Caller(owner="key-ann")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_ticket_is_good_once_for_whom_it_was_issued_to() -> None:
    tickets = Tickets()
    one, two = tickets.issue(ANN), tickets.issue(LOCAL)

    assert (tickets.redeem(two), tickets.redeem(one)) == (LOCAL, ANN)
    assert (tickets.redeem(two), tickets.redeem(one)) == (None, None)


def test_what_was_never_issued_opens_nothing() -> None:
    tickets = Tickets()
    tickets.issue(ANN)

    assert tickets.redeem("") is None
    assert tickets.redeem("ü" * 43) is None


def test_a_ticket_expires() -> None:
    clock = Clock()
    tickets = Tickets(now=clock)
    early = tickets.issue(ANN)
    clock.now += LIFETIME_S - 1
    late = tickets.issue(ANN)
    clock.now += 1

    assert tickets.redeem(early) is None
    assert tickets.redeem(late) == ANN


def test_tickets_that_nobody_uses_do_not_pile_up() -> None:
    tickets = Tickets()
    oldest = tickets.issue(ANN)
    newer = [tickets.issue(ANN) for _ in range(module.MAX_WAITING)]

    assert tickets.redeem(oldest) is None
    assert tickets.redeem(newer[0]) == ANN
