"""How the house itself tells errors, on paths of no dialect."""

import json
from collections.abc import Iterator

import pytest
import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection

from danqing.core.errors import (
    DanqingError,
    Forbidden,
    InternalError,
    QueueFull,
    RequestTimeout,
    StorageAway,
    StorageFailure,
    StorageInDoubt,
    Unauthorized,
)
from danqing.http.dialect import Dialect
from danqing.http.errors import HOUSE_STATUSES, ErrorDesk, render_jointly
from danqing.http.waiting import ClientGone
from danqing.wiring.apps import build_dialects
from tests.unit.http.made_up import a_dialect


def a_connection(**headers: str) -> HTTPConnection:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return HTTPConnection({"type": "http", "path": "/", "headers": raw})


def family(kind: type[DanqingError]) -> Iterator[type[DanqingError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)


@pytest.mark.parametrize("kind", list(family(DanqingError)))
def test_every_core_error_has_a_status_and_its_code(kind: type[DanqingError]) -> None:
    response = render_jointly(kind(), ())

    assert response.status_code in set(HOUSE_STATUSES.values())
    is_fault = kind is DanqingError or (issubclass(kind, InternalError) and not issubclass(kind, StorageAway))
    assert (response.status_code == 500) == is_fault
    assert json.loads(bytes(response.body)) == {"error": {"code": kind.code, "message": kind.default_message}}


@pytest.mark.parametrize(
    ("error", "status"),
    [(HTTPException(405), 405), (RequestValidationError([]), 422), (ZeroDivisionError("secret"), 500)],
)
def test_other_errors(error: Exception, status: int) -> None:
    response = render_jointly(error, ())

    assert response.status_code == status
    assert b"secret" not in response.body


def test_every_dialects_reader_finds_its_fields() -> None:
    red = a_dialect("red", "/red", error={"message": "rot"})
    blue = a_dialect("blue", "/blue", error={"detail": "blau"})

    response = render_jointly(HTTPException(404), (red, blue, a_dialect("grey", "/grey")))

    assert json.loads(bytes(response.body)) == {
        "status": 404,
        "message": "rot",
        "detail": "blau",
        "error": {"code": "http_404", "message": "Not Found"},
    }


def test_a_dialects_own_error_field_goes_before_the_houses() -> None:
    response = render_jointly(HTTPException(404), (a_dialect("red", "/red", error={"error": "not found"}),))

    assert json.loads(bytes(response.body)) == {"status": 404, "error": "not found"}


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (StorageFailure(), True),
        (DanqingError(), True),
        (ZeroDivisionError(), True),
        (QueueFull(), False),
        (StorageAway(), False),
        (StorageInDoubt(), False),
        (HTTPException(404), False),
        (RequestValidationError([]), False),
        (RequestTimeout(), False),
    ],
)
async def test_only_faults_of_ours_are_logged_as_errors(error: Exception, logged: bool) -> None:
    desk = ErrorDesk(dialects=(), alone=False)

    with structlog.testing.capture_logs() as lines:
        await desk.answer(a_connection(), error)

    assert [line["event"] for line in lines] == (["request_failed"] if logged else [])
    assert all(line["exc_info"] is error for line in lines)


@pytest.mark.parametrize("kind", list(family(DanqingError)))
async def test_who_may_try_again_is_told_when(kind: type[DanqingError]) -> None:
    response = await ErrorDesk(dialects=build_dialects(), alone=False).answer(a_connection(), kind())

    may_try_again = response.status_code in (429, 503) and kind is not StorageInDoubt
    assert ("retry-after" in response.headers) == may_try_again
    if "retry-after" in response.headers:
        assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize("dialect", build_dialects(), ids=lambda dialect: dialect.name)
async def test_a_storage_that_is_away_is_no_fault_in_any_dialect(dialect: Dialect) -> None:
    response = await ErrorDesk(dialects=(dialect,), alone=True).answer(a_connection(), StorageAway())

    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    told = json.loads(bytes(response.body))
    assert told.keys() == json.loads(bytes((dialect.render_error(StorageFailure())).body)).keys()
    assert "internal" not in str(told).lower()


@pytest.mark.parametrize("error", [ClientGone(), ClientDisconnect()])
async def test_a_client_that_left_is_no_fault_of_ours(error: Exception) -> None:
    desk = ErrorDesk(dialects=(a_dialect("red", "/"),), alone=True)

    with structlog.testing.capture_logs() as lines:
        response = await desk.answer(a_connection(), error)

    assert (response.status_code, bytes(response.body)) == (499, b"")
    assert [(line["event"], line["log_level"]) for line in lines] == [("client_gone", "debug")]


@pytest.mark.parametrize(("kind", "status"), [(Unauthorized, 401), (Forbidden, 403), (RequestTimeout, 408)])
def test_statuses_of_the_house(kind: type[DanqingError], status: int) -> None:
    assert render_jointly(kind(), ()).status_code == status


@pytest.mark.parametrize(
    ("headers", "schemes"),
    [
        ({}, ["Bearer"]),
        ({"authorization": "Bearer wrong"}, ["Bearer"]),
        ({"authorization": "Basic d3Jvbmc="}, ["Bearer", "Basic"]),
        ({"accept": "text/html"}, ["Bearer", "Basic"]),
    ],
)
async def test_who_is_not_let_in_is_told_how(headers: dict[str, str], schemes: list[str]) -> None:
    response = await ErrorDesk(dialects=(), alone=False).answer(a_connection(**headers), Unauthorized())

    challenge = response.headers["www-authenticate"]
    assert [scheme for scheme in ("Bearer", "Basic") if f'{scheme} realm="danqing"' in challenge] == schemes


@pytest.mark.parametrize("dialect", build_dialects(), ids=lambda dialect: dialect.name)
async def test_nobody_is_told_to_ask_again_for_what_may_have_been_done(dialect: Dialect) -> None:
    response = await ErrorDesk(dialects=(dialect,), alone=True).answer(a_connection(), StorageInDoubt())

    assert response.status_code == 503
    assert "retry-after" not in response.headers
    away = await ErrorDesk(dialects=(dialect,), alone=True).answer(a_connection(), StorageAway())
    assert bytes(response.body) != bytes(away.body)
