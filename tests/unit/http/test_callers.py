"""What routes are told about who calls."""

import pytest
from starlette.requests import HTTPConnection

from danqing.core.callers import LOCAL
from danqing.http.callers import STATE_KEY, caller_of, known_caller


def a_connection(**state: object) -> HTTPConnection:
    return HTTPConnection({"type": "http", "headers": [], "state": state})


def test_whom_the_gate_noted() -> None:
    connection = a_connection(**{STATE_KEY: LOCAL})

    assert caller_of(connection) is LOCAL
    assert known_caller(connection) is LOCAL


@pytest.mark.parametrize("connection", [a_connection(), a_connection(caller="local"), HTTPConnection({"type": "http"})])
def test_nobody(connection: HTTPConnection) -> None:
    assert caller_of(connection) is None
    with pytest.raises(RuntimeError):  # a route on an open path that forgot that there may be nobody
        known_caller(connection)
