"""Which methods a path takes, over all routes that match it: each route knows its own only."""

from starlette.routing import BaseRoute, Match
from starlette.types import Scope

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def methods_of(scope: Scope) -> list[str]:
    """scope: of a request that reached an app. HEAD goes wherever GET does, as `Exchange` has it."""
    routes: list[BaseRoute] = scope["app"].routes
    taken = [method for method in _METHODS if _is_taken(routes, scope, method)]
    return ["GET", "HEAD", *taken[1:]] if "GET" in taken else taken


def _is_taken(routes: list[BaseRoute], scope: Scope, method: str) -> bool:
    asked = {key: scope[key] for key in ("type", "path", "root_path", "headers") if key in scope} | {"method": method}
    return any(route.matches(asked)[0] is Match.FULL for route in routes)
