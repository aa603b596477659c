"""The routes of one dialect, which are looked through only for paths that it answers for.

A router tries the routes one after the other, and those of all dialects would be tried for each request: that took more
time than anything else of a short answer.
"""

from collections.abc import Callable

from fastapi import APIRouter
from starlette.routing import Match
from starlette.types import Scope

from danqing.http.route_path import route_path


class Branch(APIRouter):
    """Has the routes of another router. covers: whether a path can be one of theirs."""

    def __init__(self, router: APIRouter, *, covers: Callable[[str], bool]) -> None:
        super().__init__()
        self.routes.extend(router.routes)
        self.covers = covers

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See `APIRouter`."""
        return super().matches(scope) if self.covers(route_path(scope)) else (Match.NONE, {})
