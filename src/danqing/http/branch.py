"""The routes of one dialect, which are looked through only for paths that it answers for.

A router tries the routes one after the other, and those of all dialects would be tried for each request: that took more
time than anything else of a short answer. And FastAPI makes each route of a router that it includes once more, at the
first request that comes to it; these are used as they are.
"""

from collections.abc import Callable, Iterator, Sequence

from fastapi import APIRouter
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from danqing.http.route_path import route_path

_CHOSEN = "danqing.route"


class Branch(BaseRoute):
    """For the `routes` of an app. covers: whether a path can be one of theirs."""

    def __init__(self, router: APIRouter, *, covers: Callable[[str], bool]) -> None:
        """Takes the routes that the router has by now; what it would do for those that include it is not done."""
        self.routes = tuple(router.routes)
        self.covers = covers

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See `BaseRoute`; so below."""
        partial: Scope | None = None
        for route in self.routes if self.covers(route_path(scope)) else ():
            match, child_scope = route.matches(scope)
            if match is Match.FULL:
                return match, {**child_scope, _CHOSEN: route}
            if match is Match.PARTIAL and partial is None:
                partial = {**child_scope, _CHOSEN: route}
        return (Match.NONE, {}) if partial is None else (Match.PARTIAL, partial)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        route: BaseRoute = scope[_CHOSEN]
        await route.handle(scope, receive, send)


def with_branches(routes: Sequence[BaseRoute]) -> Iterator[BaseRoute]:
    """These, and in the place of each branch its own."""
    for route in routes:
        if isinstance(route, Branch):
            yield from route.routes
        else:
            yield route
