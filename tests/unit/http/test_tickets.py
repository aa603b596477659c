"""Tickets of one process open once, and not for ever."""

import pytest

from danqing.core.tickets import MAX_WAITING
from danqing.http.tickets import LocalTickets
from tests.contracts.tickets import Clock, TicketsContract


class TestLocalTickets(TicketsContract):
    implementation = LocalTickets
    most = MAX_WAITING

    @pytest.fixture
    def tickets(self, clock: Clock) -> LocalTickets:
        return LocalTickets(now=clock)
