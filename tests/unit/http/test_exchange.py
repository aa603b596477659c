"""What every exchange gets."""

import pytest
import structlog
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from danqing.http.exchange import Exchange
from tests.unit.http.asgi import a_scope, call


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["method"] in ("GET", "POST")
    await PlainTextResponse("whole", headers={"Cache-Control": "private"})(scope, receive, send)


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    raise ZeroDivisionError


async def broken_halfway(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise ZeroDivisionError


async def answer_error(request: HTTPConnection, error: Exception) -> Response:
    return PlainTextResponse(type(error).__name__, status_code=500)


def headers_of(start: Message) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in start["headers"]}


async def test_answers_are_safe_and_have_an_id() -> None:
    start, body = await call(Exchange(fine, answer_error=answer_error), a_scope())

    headers = headers_of(start)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cache-control"] == "private"  # what the handler said stands
    assert len(headers["x-request-id"]) == 32
    assert body["body"] == b"whole"


async def test_two_exchanges_have_two_ids() -> None:
    app = Exchange(fine, answer_error=answer_error)

    ids = {headers_of((await call(app, a_scope()))[0])["x-request-id"] for _ in range(2)}

    assert len(ids) == 2


async def test_head_is_get_without_the_body() -> None:
    start, body = await call(Exchange(fine, answer_error=answer_error), a_scope("HEAD"))

    assert start["status"] == 200
    assert headers_of(start)["content-length"] == "5"
    assert body["body"] == b""


async def test_a_fault_is_answered() -> None:
    start, body = await call(Exchange(broken, answer_error=answer_error), a_scope())

    assert (start["status"], body["body"]) == (500, b"ZeroDivisionError")
    assert "x-request-id" in headers_of(start)


async def test_a_fault_in_mid_answer_is_left_to_the_server() -> None:
    with pytest.raises(ZeroDivisionError):
        await call(Exchange(broken_halfway, answer_error=answer_error), a_scope())


@pytest.mark.parametrize(
    ("app", "method", "level", "status"),
    [
        (fine, "GET", "debug", 200),
        (fine, "HEAD", "debug", 200),
        (fine, "POST", "info", 200),
        (broken, "GET", "info", 500),
    ],
)
async def test_one_log_line_each_and_reading_is_quiet(app: Exchange, method: str, level: str, status: int) -> None:
    with structlog.testing.capture_logs() as lines:
        await call(Exchange(app, answer_error=answer_error), a_scope(method, path="/" + "x" * 300))

    *before, line = lines
    assert (line["event"], line["log_level"], line["method"], line["status"]) == (
        "http_request",
        level,
        method,
        status,
    )
    assert line["ms"] >= 0
    # And what a client wrote, which no route has, is told at level debug only
    assert line["route"] == "unmatched"
    assert [(each["event"], each["log_level"], len(each["path"])) for each in before] == [("no_route", "debug", 200)]


async def test_what_is_not_http_passes() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    await call(Exchange(app, answer_error=answer_error), {"type": "websocket", "headers": []})

    assert seen == ["websocket"]


@pytest.mark.parametrize("given", ["my-id-1", "a" * 128, "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", "abc/12+3=="])
async def test_an_id_that_the_client_gives_is_taken_told_again_and_in_every_log_line(given: str) -> None:
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(structlog.contextvars.get_contextvars().get("request_id"))
        await fine(scope, receive, send)

    start, _ = await call(Exchange(app, answer_error=answer_error), a_scope(x_request_id=given))

    assert headers_of(start)["x-request-id"] == given
    assert seen == [given]
    assert structlog.contextvars.get_contextvars() == {}


@pytest.mark.parametrize("given", ["", "a" * 129, "a b", "a\r\nb: c", "a\x1b[31m", "-a", "é", "a;b", 'a"b'])
async def test_an_id_that_does_not_fit_into_a_log_is_none(given: str) -> None:
    scope = a_scope()
    scope["headers"] = [(b"x-request-id", given.encode("latin-1"))]

    start, _ = await call(Exchange(fine, answer_error=answer_error), scope)

    assert len(headers_of(start)["x-request-id"]) == 32


async def test_of_two_ids_neither_counts() -> None:
    scope = a_scope()
    scope["headers"] = [(b"x-request-id", b"one"), (b"x-request-id", b"two")]

    start, _ = await call(Exchange(fine, answer_error=answer_error), scope)

    assert headers_of(start)["x-request-id"] not in ("one", "two")


class Notes:
    """An ExchangeWitness that remembers."""

    def __init__(self) -> None:
        self.told: list[dict[str, object]] = []

    def began(self, scope: Scope) -> "Notes":
        return self

    def ended(self, **told: object) -> None:
        self.told.append(told)


async def test_witnesses_are_told_how_it_ended_also_badly() -> None:
    notes = Notes()

    await call(Exchange(fine, answer_error=answer_error, witnesses=[notes]), a_scope("HEAD"))
    with pytest.raises(ZeroDivisionError):
        await call(Exchange(broken_halfway, answer_error=answer_error, witnesses=[notes]), a_scope())

    whole, half = notes.told
    assert (whole["status"], whole["sent"], whole["route"]) == (200, 0, None)  # HEAD has no body
    assert (half["status"], half["sent"]) == (200, 0)
