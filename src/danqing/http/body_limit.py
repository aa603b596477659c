"""How request bodies may come: not above the limit of the path's dialect, not too slowly, not too many at once."""

import asyncio
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from danqing.core.errors import BodyTooSlow
from danqing.http.body_budget import RELEASE_KEY, BodyBudget
from danqing.http.callers import caller_of
from danqing.http.errors import BodyTooLarge
from danqing.http.route_path import route_path

GRACE_S = 30.0  # that any body may take, and that one may stay silent, or be behind
MIN_BYTES_PER_S = 8 * 1024  # of what takes longer
WHOLE_BODY = "danqing.whole_body"  # an ASGI extension: whether all of the body is here, to be received at once


class BodyLimit:
    """ASGI middleware. limit_for: bytes allowed on a path. What a body takes of the budget it has until `release_body`,
    or until the answer begins.

    Raises BodyTooLarge (by declared length at once, else while reading), BodyTooSlow or TooBusy, whatever the app
    makes of them; no answer of its own.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limit_for: Callable[[str], int],
        budget: BodyBudget,
        grace_s: float = GRACE_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._limit_for = limit_for
        self._budget = budget
        self._grace_s = grace_s
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit_for(route_path(scope))
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > limit:
            raise BodyTooLarge(limit)
        total, is_whole, left_s = 0, False, self._grace_s
        is_here = scope.get("extensions", {}).get(WHOLE_BODY, _never)

        async def receive_counted() -> Message:
            """A library may take what is raised here for something else: it is remembered."""
            nonlocal total, is_whole, left_s
            if is_whole:
                return await receive()
            try:
                asked = self._now()
                message = await (receive() if is_here() else _in_time(receive, left_s))
                came = len(message.get("body", b""))
                # What came early counts for no more than the grace, so that who stops is not waited for long.
                left_s = min(left_s - (self._now() - asked) + came / MIN_BYTES_PER_S, self._grace_s)
                total += came
                is_whole = not message.get("more_body", False)
                if total > limit:
                    raise BodyTooLarge(limit)
                held.grow_to(total)
            except Exception as exc:
                held.refused = exc
                raise
            return message

        async def send_unless_refused(message: Message) -> None:
            if held.refused is not None:
                raise held.refused
            held.release()
            await send(message)

        with self._budget.held(_owner(scope)) as held:
            scope[RELEASE_KEY] = held.release
            try:
                await self._app(scope, receive_counted, send_unless_refused)
            except Exception as exc:
                if held.refused is not None and exc is not held.refused:
                    raise held.refused from exc
                raise


def _never() -> bool:
    return False


async def _in_time(receive: Receive, left_s: float) -> Message:
    try:
        async with asyncio.timeout(max(0.0, left_s)):
            return await receive()
    except TimeoutError as exc:
        raise BodyTooSlow from exc


def _owner(scope: Scope) -> str:
    caller = caller_of(HTTPConnection(scope))
    return "" if caller is None else caller.owner
