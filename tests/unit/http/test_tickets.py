"""Tickets of one process open once, and not for ever."""

import pytest

from danqing.http.tickets import MAX_WAITING, LocalTickets
from tests.contracts.tickets import Clock, TicketsContract


class TestLocalTickets(TicketsContract):
    implementation = LocalTickets
    most = MAX_WAITING

    @pytest.fixture
    def tickets(self, clock: Clock) -> LocalTickets:
        return LocalTickets(now=clock)
