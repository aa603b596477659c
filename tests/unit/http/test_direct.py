"""The short way to a route answers as FastAPI does, and leaves to it what it does not know."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import APIRouter, Body, FastAPI, Form, Query
from fastapi import Path as PathParameter
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from danqing.http.branch import Branch
from danqing.http.direct import DirectCalls
from danqing.wiring.apps import DIALECTS
from tests.dialects.house import House

JSON = {"content-type": "application/json"}


class Wish(BaseModel):
    model_config = ConfigDict(strict=True)

    words: str = Field(min_length=1)
    side: int = 64


class Told(BaseModel):
    words: str
    side: int | None = None
    more: list[str] = []


async def made(request: Request, wire: Wish) -> Response:
    return JSONResponse({"wire": wire.model_dump(), "body": len(await request.body()), "path": request.url.path})


async def told(wire: Wish) -> Told:
    return Told(words=wire.words, side=wire.side)


async def one(thing_id: str, request: Request) -> Told:
    return Told(words=thing_id, more=[request.path_params["thing_id"]])


async def deep(rest: str) -> Response:
    return PlainTextResponse(rest)


async def nothing() -> Response:
    return PlainTextResponse("nothing")


async def asked(limit: Annotated[int, Query(ge=1)] = 5) -> Response:
    return PlainTextResponse(str(limit))


async def bare(wire: Annotated[Wish, Body(embed=True)]) -> Response:
    return JSONResponse(wire.model_dump())


async def made_elsewhere() -> Told:
    return Told(words="made", side=1)


async def plain(limit=5) -> Response:  # type: ignore[no-untyped-def]  # noqa: ANN001
    return PlainTextResponse(str(limit))


def sync() -> Response:
    return PlainTextResponse("sync")


async def short(name: Annotated[str, PathParameter(max_length=3)]) -> Response:
    return PlainTextResponse(name)


async def form(words: Annotated[str, Form()]) -> Response:
    return PlainTextResponse(words)


async def broken() -> Response:
    raise ZeroDivisionError


async def ws(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


def a_router() -> APIRouter:
    router = APIRouter()
    add = router.add_api_route
    add("/a/made", made, methods=["POST"])
    add("/a/told", told, methods=["POST"])
    add("/a/things/{thing_id}", one, methods=["GET"], response_model_exclude_unset=True)
    add("/a/things/{thing_id}/all/{rest:path}", deep, methods=["GET"])
    add("/a/nothing", nothing, methods=["GET"])
    add("/a/asked", asked, methods=["GET"])
    add("/a/bare", bare, methods=["POST"])
    add("/a/new", made_elsewhere, methods=["POST"], status_code=201)
    add("/a/plain", plain, methods=["GET"])
    add("/a/sync", sync, methods=["GET"])
    add("/a/short/{name}", short, methods=["GET"])
    add("/a/form", form, methods=["POST"])
    add("/a/sized", made, methods=["POST"], max_body_size=3)
    add("/a/broken", broken, methods=["GET"])
    add("/a/{rest:path}", deep, methods=["DELETE"])
    router.add_api_websocket_route("/a/ws", ws)
    return router


class Noted:
    """ASGI middleware that knows what reached FastAPI."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.paths: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"])
        await self.app(scope, receive, send)


def both(router: APIRouter) -> tuple[ASGIApp, Noted]:
    """The short way, and the app behind it."""
    part = Branch(router, covers=lambda path: path.startswith("/a"))
    app = FastAPI()
    app.router.routes.append(part)
    noted = Noted(app)
    return DirectCalls(noted, parts=[part]), noted


async def ask(app: ASGIApp, method: str, path: str, **options: Any) -> httpx2.Response:  # noqa: ANN401 - httpx2's
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://danqing.test") as client:
        return await client.request(method, path, **options)


GOOD = json.dumps({"words": "a cat", "side": 128}).encode()
SHORT = [
    ("POST", "/a/made", GOOD, JSON),
    ("POST", "/a/told", GOOD, JSON),
    ("GET", "/a/things/one%20cat", b"", {}),
    ("GET", "/a/things/7/all/of/it", b"", {}),
    ("GET", "/a/nothing", b"", {}),
    ("DELETE", "/a/nothing", b"", {}),
]
LONG = [
    ("GET", "/a/plain?limit=9", b"", {}),
    ("GET", "/a/sync", b"", {}),
    ("GET", "/a/short/catalogue", b"", {}),
    ("GET", "/a/short/cat", b"", {}),
    ("POST", "/a/form", b"words=a+cat", {"content-type": "application/x-www-form-urlencoded"}),
    ("POST", "/a/sized", GOOD, JSON),
    ("POST", "/a/made", GOOD, {"content-type": "application/json; charset=utf-8"}),
    ("POST", "/a/made", GOOD, {"content-type": "application/vnd.cat+json"}),
    ("POST", "/a/made", GOOD, {"content-type": "text/plain"}),
    ("POST", "/a/made", GOOD, {}),
    ("POST", "/a/made", b"", JSON),
    ("POST", "/a/made", b'{"words": ', JSON),
    ("POST", "/a/made", b"\xff\xfe{", JSON),
    ("POST", "/a/made", b'{"words": "", "side": "128"}', JSON),
    ("POST", "/a/told", b"[1]", JSON),
    ("POST", "/a/made", b"[" * 100_000, JSON),
    ("PUT", "/a/made", GOOD, JSON),
    ("GET", "/a/asked?limit=3", b"", {}),
    ("GET", "/a/asked?limit=0", b"", {}),
    ("POST", "/a/bare", json.dumps({"wire": {"words": "a"}}).encode(), JSON),
    ("POST", "/a/new", b"", {}),
    ("GET", "/a/unknown", b"", {}),
    ("GET", "/b", b"", {}),
    ("GET", "/", b"", {}),
]


@pytest.mark.parametrize(("method", "path", "body", "headers"), [*SHORT, *LONG])
async def test_each_answer_is_fastapis(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> None:
    direct, noted = both(a_router())

    own = await ask(direct, method, path, content=body, headers=headers)
    reached = list(noted.paths)
    its = await ask(noted, method, path, content=body, headers=headers)

    assert (own.status_code, own.content) == (its.status_code, its.content)
    assert own.headers == its.headers
    assert bool(reached) is ((method, path, body, headers) in LONG)


async def test_a_route_is_noted_and_its_errors_are_left_to_others() -> None:
    direct, noted = both(a_router())
    routes: list[str] = []

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await direct(scope, receive, send)
        finally:
            routes.append(scope["route"].path)

    await ask(outer, "GET", "/a/things/7")
    with pytest.raises(ZeroDivisionError):
        await ask(outer, "GET", "/a/broken")

    assert (routes, noted.paths) == (["/a/things/{thing_id}", "/a/broken"], [])


async def test_a_fault_on_the_long_way_is_told_as_it_is() -> None:
    direct, noted = both(a_router())
    noted.app = raising

    with pytest.raises(ZeroDivisionError) as raised:
        await ask(direct, "POST", "/a/made", content=b"no json", headers=JSON)

    assert raised.value.__context__ is None


async def raising(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise ZeroDivisionError


async def test_a_mounted_app_has_them_below_its_own_path() -> None:
    direct, noted = both(a_router())

    answer = await ask(lambda scope, *rest: direct({**scope, "root_path": "/img"}, *rest), "GET", "/img/a/nothing")

    assert (answer.text, noted.paths) == ("nothing", [])


async def test_a_path_that_is_not_covered_is_fastapis_to_answer() -> None:
    noted = Noted(FastAPI())
    direct = DirectCalls(noted, parts=[Branch(a_router(), covers=lambda path: False)])

    await ask(direct, "GET", "/a/nothing")

    assert noted.paths == ["/a/nothing"]


async def test_what_comes_after_a_body_that_was_read_is_heard() -> None:
    # Given an app behind the short way, which asks whether the client is there
    heard: list[Message] = []

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        heard.extend([await receive(), await receive()])

    messages: list[Message] = [
        {"type": "http.request", "body": b"no", "more_body": True},
        {"type": "http.request", "body": b" json", "more_body": False},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(_message: Message) -> None:
        raise AssertionError

    # When a body comes that it does not take
    direct = DirectCalls(app, parts=[Branch(a_router(), covers=lambda path: True)])
    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/a/made", "headers": headers, "query_string": b""}
    await direct(scope, receive, send)

    # Then the app hears all of it
    assert heard == [{"type": "http.request", "body": b"no json", "more_body": False}, {"type": "http.disconnect"}]


def test_the_first_part_of_a_path_is_known() -> None:
    router = APIRouter()
    router.add_api_route("/{anything}", nothing)

    with pytest.raises(ValueError, match="first part"):
        DirectCalls(FastAPI(), parts=[Branch(router, covers=lambda path: True)])


async def test_clients_that_poll_go_the_short_way(tmp_path: Path) -> None:
    # Given the shared port, and a FastAPI that cannot call anything
    app = House(tmp_path).app(*(make() for make in DIALECTS.values()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(APIRoute, "handle", None)

        # When clients submit and poll, then they are answered
        async def ask_house(method: str, path: str, **options: Any) -> httpx2.Response:  # noqa: ANN401 - httpx2's
            return await ask(app, method, path, **options)

        wish = {"prompt": "a cat", "height": 128, "width": 128}
        turbo = (await ask_house("POST", "/api/generate", json=wish)).json()["data"]["task_id"]
        zimage = (await ask_house("POST", "/v1/images/generate", json=wish)).json()["task_id"]
        for path in (
            f"/api/task/{turbo}",
            f"/api/result/{turbo}",
            "/api/status",
            f"/v1/tasks/{zimage}",
            "/v1/models",
            "/status",
            "/models",
            "/studio/models",
            f"/studio/jobs/{turbo}",
        ):
            assert (await ask_house("GET", path)).status_code == 200, path
