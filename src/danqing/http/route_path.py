"""The path that routes are chosen by: the one asked for, without what the app is mounted at (ASGI's `root_path`)."""

from starlette._utils import get_route_path  # what its routes match; it has no other name
from starlette.types import Scope


def route_path(scope: Scope) -> str:
    """Begins with a slash; empty where the path is all of `root_path`."""
    return get_route_path(scope)
