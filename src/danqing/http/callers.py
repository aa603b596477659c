"""Who asks, as `Gate` found out before the request reached a route."""

from starlette.requests import HTTPConnection

from danqing.core.callers import Caller

STATE_KEY = "caller"


def caller_of(connection: HTTPConnection) -> Caller | None:
    """None: nobody known, on a path that is open to all while authentication is on."""
    caller = connection.scope.get("state", {}).get(STATE_KEY)
    return caller if isinstance(caller, Caller) else None


def known_caller(connection: HTTPConnection) -> Caller:
    """For routes on paths that are not open: there is always one."""
    caller = caller_of(connection)
    if caller is None:
        raise RuntimeError("a route asked for its caller on a path that the gate does not guard")
    return caller
