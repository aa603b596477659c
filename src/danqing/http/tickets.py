"""Tickets of one process, and where they are asked for."""

import hashlib
import secrets
import time
from collections.abc import Callable

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import JSONResponse

from danqing.core.callers import Caller
from danqing.core.tickets import LIFETIME_S, MAX_WAITING, Tickets
from danqing.http.callers import known_caller


class LocalTickets:
    """Implements `core.tickets.Tickets`. Held in memory: none survives the server."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._waiting: dict[bytes, tuple[float, Caller]] = {}  # by digest, in order of expiry

    async def issue(self, caller: Caller) -> str:
        """See the Protocol; so for all below."""
        self._drop_expired()
        if len(self._waiting) >= MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        ticket = secrets.token_urlsafe(32)
        self._waiting[_digest(ticket)] = (self._now() + LIFETIME_S, caller)
        return ticket

    async def redeem(self, ticket: str) -> Caller | None:
        self._drop_expired()
        _, caller = self._waiting.pop(_digest(ticket), (0.0, None))
        return caller

    def _drop_expired(self) -> None:
        now = self._now()
        while self._waiting and self._waiting[oldest := next(iter(self._waiting))][0] <= now:
            del self._waiting[oldest]


def _digest(ticket: str) -> bytes:
    """Looked up by digest, so that how long it takes tells nothing about tickets."""
    return hashlib.sha256(ticket.encode()).digest()


class IssuedTicket(BaseModel):
    """Answer of `POST /tickets`. expires_in: seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ticket: str
    expires_in: int


class TicketRoutes:
    """`POST /tickets`, on every port."""

    def __init__(self, tickets: Tickets) -> None:
        self._tickets = tickets

    def router(self) -> APIRouter:
        """The route."""
        router = APIRouter(tags=["tickets"])
        router.add_api_route(
            "/tickets",
            self.issue,
            methods=["POST"],
            response_model=IssuedTicket,
            summary="A ticket that opens one WebSocket: connect with ?ticket=…",
        )
        return router

    async def issue(self, request: Request) -> JSONResponse:
        """For the caller whose key the request carries."""
        ticket = await self._tickets.issue(known_caller(request))
        issued = IssuedTicket(ticket=ticket, expires_in=LIFETIME_S)
        return JSONResponse(issued.model_dump())
