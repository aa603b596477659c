"""Bodies above the limit, too slow or too many are refused, as early as possible, whatever the app makes of it."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from danqing.core.callers import Caller
from danqing.core.errors import BodyTooSlow, TooBusy
from danqing.http.body_budget import BodyBudget, release_body
from danqing.http.body_limit import MIN_BYTES_PER_S, BodyLimit
from danqing.http.callers import STATE_KEY
from danqing.http.errors import BodyTooLarge
from tests.unit.http.asgi import a_scope, call

KIB = 1024


class Reader:
    """Reads the whole body."""

    def __init__(self) -> None:
        self.read = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            self.read += message["body"]
            more = message["more_body"]


class Misreader(Reader):
    """Takes whatever keeps it from reading for a mistake of the client's, as FastAPI does."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(Exception):
            await super().__call__(scope, receive, send)
        await send({"type": "http.response.start", "status": 400, "headers": []})


def limited(reader: Reader, limit: int = 10, budget: BodyBudget | None = None, grace_s: float = 60) -> BodyLimit:
    return BodyLimit(reader, limit_for=lambda path: limit, budget=budget or BodyBudget(), grace_s=grace_s)


async def test_a_body_at_the_limit_passes_whole() -> None:
    reader = Reader()

    await call(limited(reader), a_scope("POST", content_length="10"), [b"01234", b"56789"])

    assert reader.read == b"0123456789"


async def test_a_declared_length_is_refused_before_reading() -> None:
    reader = Reader()

    with pytest.raises(BodyTooLarge) as caught:
        await call(limited(reader), a_scope("POST", content_length="11"), [b"0"])

    assert caught.value.max_bytes == 10
    assert reader.read == b""


@pytest.mark.parametrize("headers", [{}, {"content_length": "5"}, {"content_length": "-1"}, {"content_length": "x"}])
@pytest.mark.parametrize("kind", [Reader, Misreader])
async def test_an_undeclared_or_wrong_length_is_refused_while_reading(
    headers: dict[str, str], kind: type[Reader]
) -> None:
    reader = kind()

    with pytest.raises(BodyTooLarge):
        await call(limited(reader), a_scope("POST", **headers), [b"01234", b"56789", b"0", b"never read"])

    assert reader.read == b"0123456789"


@pytest.mark.parametrize("kind", [Reader, Misreader])
async def test_a_body_for_which_there_is_no_room_is_refused(kind: type[Reader]) -> None:
    budget = BodyBudget(300 * KIB)
    with budget.held() as other:
        other.grow_to(120 * KIB)

        with pytest.raises(TooBusy):
            await call(limited(kind(), 9000 * KIB, budget), a_scope("POST"), [bytes(60 * KIB)] * 9)

    assert budget.held_bytes == 0


@pytest.mark.parametrize("kind", [Reader, Misreader])
async def test_a_body_that_comes_too_slowly_is_given_up(kind: type[Reader]) -> None:
    # Given a client that falls silent
    reader = kind()
    left = [b"0123456789"]

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": left.pop(), "more_body": True}

    async def send(_: Message) -> None:
        raise AssertionError

    with pytest.raises(BodyTooSlow):
        await limited(reader, 100, grace_s=0.05)(a_scope("POST"), receive, send)

    assert reader.read == b"0123456789"


async def test_how_long_a_body_may_take_grows_with_it() -> None:
    # Given a slow clock, and a body that keeps just above the least rate
    now, piece = 0.0, bytes(2 * MIN_BYTES_PER_S)
    reader, left = Reader(), [piece] * 40

    async def receive() -> Message:
        nonlocal now
        now += 1.9
        return {"type": "http.request", "body": left.pop(), "more_body": bool(left)}

    async def send(_: Message) -> None:
        raise AssertionError

    app = BodyLimit(reader, limit_for=lambda _: 10**9, budget=BodyBudget(), grace_s=5, now=lambda: now)
    await app(a_scope("POST"), receive, send)

    # Then it is read, though the time without it would have been over long before
    assert len(reader.read) == 40 * len(piece)


async def test_what_came_early_buys_no_time_to_stop() -> None:
    # Given a client that sends a megabyte at once, and then nothing
    reader, left = Reader(), [bytes(1024 * KIB)]

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": left.pop(), "more_body": True}

    async def send(_: Message) -> None:
        raise AssertionError

    app = BodyLimit(reader, limit_for=lambda _: 10**9, budget=BodyBudget(), grace_s=0.05)
    async with asyncio.timeout(20):  # it would have bought two minutes
        with pytest.raises(BodyTooSlow):
            await app(a_scope("POST"), receive, send)


async def test_who_has_done_with_the_body_makes_room_while_he_is_still_to_answer() -> None:
    budget, held = BodyBudget(), list[int]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await request.json()
        held.append(budget.held_bytes)
        release_body(request)
        held.append(budget.held_bytes)
        # And nothing of it is remembered
        assert not {"_body", "_json"} & set(vars(request))

    await call(
        BodyLimit(app, limit_for=lambda _: 9000 * KIB, budget=budget), a_scope("POST"), [b"[", b"1," * 200 * KIB, b"1]"]
    )

    assert held[0] > 0 and held[1] == 0
    assert budget.held_bytes == 0


async def test_one_caller_leaves_room_for_another() -> None:
    budget = BodyBudget(2000 * KIB, 600 * KIB)
    body = [bytes(60 * KIB)] * 3
    with budget.held("one") as greedy:
        greedy.grow_to(200 * KIB)

        for owner, kind in (("one", Reader), ("one", Misreader)):
            with pytest.raises(TooBusy):
                await call(limited(kind(), 9000 * KIB, budget), owned_by(owner), body)
        reader = Reader()
        await call(limited(reader, 9000 * KIB, budget), owned_by("two"), body[:2])

    assert (len(reader.read), budget.held_bytes) == (120 * KIB, 0)


def owned_by(owner: str) -> dict[str, Any]:
    return {**a_scope("POST"), "state": {STATE_KEY: Caller(owner=owner)}}


async def test_after_the_body_waiting_has_no_end() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        seen.append((await receive())["type"])

    messages: list[Message] = [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": b"", "more_body": False},
    ]

    async def receive() -> Message:
        await asyncio.sleep(0)
        return messages.pop()

    async def send(_: Message) -> None:
        raise AssertionError

    clock = iter([0.0, 0.0])  # asked before the body and after it
    app_limited = BodyLimit(app, limit_for=lambda _: 10, budget=BodyBudget(), grace_s=5, now=lambda: next(clock))
    await app_limited(a_scope("GET"), receive, send)

    assert seen == ["http.disconnect"]


async def test_what_is_not_http_passes() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    await call(BodyLimit(app, limit_for=lambda path: 0, budget=BodyBudget()), {"type": "lifespan"})

    assert seen == ["lifespan"]
