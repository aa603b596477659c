"""A short way to the routes that need little of FastAPI, which took longer than making most of their answers.

FastAPI looks for a route in each router in turn, opens three stacks of contexts around it and works out what it depends
on. A route that takes no more than the request, texts of its path and one JSON body is called from here instead, with
the same values, once the body is known to be good. Everything else goes FastAPI's way: all other routes, every body
that is refused, so that the words are the same, and the description of all of them.
"""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from re import Pattern
from typing import Any, cast, get_type_hints

from fastapi.datastructures import DefaultPlaceholder
from fastapi.routing import RouteContext, iter_route_contexts, serialize_response
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from danqing.http.route_path import route_path

_JSON = "application/json"


class _NoShortWay(Exception):
    """For this request, nothing of which is done yet. body: it has been read."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body


@dataclass(frozen=True, kw_only=True)
class _Way:
    """To one route. request, body: the names of its parameters; None: it has no such. model: of the body. told: how an
    answer that is no response is written.
    """

    route: RouteContext
    endpoint: Callable[..., Awaitable[object]]
    request: str | None
    body: str | None
    model: type[BaseModel]
    told: Mapping[str, Any]  # Any: as FastAPI has them

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what the route raises; _NoShortWay."""
        request = Request(scope, receive, send)
        values: dict[str, object] = dict(scope["path_params"])
        if self.body is not None:
            values[self.body] = self._read(request, await request.body())
        if self.request is not None:
            values[self.request] = request
        answer = await self.endpoint(**values)
        response = answer if isinstance(answer, Response) else await self._told(answer)
        await response(scope, receive, send)

    def _read(self, request: Request, body: bytes) -> BaseModel:
        if request.headers.get("content-type") != _JSON:  # it may say that in other words: FastAPI knows them
            raise _NoShortWay(body)
        try:
            return self.model.model_validate(json.loads(body))
        except (ValueError, RecursionError) as exc:
            raise _NoShortWay(body) from exc

    async def _told(self, answer: object) -> Response:
        return Response(await serialize_response(response_content=answer, **self.told), media_type=_JSON)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Of an app's routes. covers: whether they are looked through for a path."""

    routes: Sequence[BaseRoute]
    covers: Callable[[str], bool]


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A route, in the order in which they are looked through. methods: None: all. way: None: there is no short one."""

    path: Pattern[str]
    methods: frozenset[str] | None
    covers: Callable[[str], bool]
    way: _Way | None


class DirectCalls:
    """ASGI middleware, the innermost one. parts: the first of the app's routes, in their order."""

    def __init__(self, app: ASGIApp, *, parts: Sequence[Part]) -> None:
        self._app = app
        self._entries: dict[str, list[_Entry]] = {}  # by the first part of the path
        for part in parts:
            for first, entry in _entries_of(part):
                self._entries.setdefault(first, []).append(entry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        way = self._find(scope) if scope["type"] == "http" else None
        if way is None:
            await self._app(scope, receive, send)
            return
        try:
            await way.run(scope, receive, send)
        except _NoShortWay as without:
            await self._app(scope, _again(without.body, receive), send)

    def _find(self, scope: Scope) -> _Way | None:
        """The way to the route of a request, which is noted as FastAPI does; None if there is no short one."""
        path, method = route_path(scope), scope["method"]
        for entry in self._entries.get(_first_part(path), ()):
            if entry.methods is not None and method not in entry.methods:
                continue
            match = entry.path.match(path)
            if match is None or not entry.covers(path):
                continue
            if entry.way is not None:
                scope["route"], scope["path_params"] = entry.way.route, match.groupdict()
            return entry.way
        return None


def _again(body: bytes, receive: Receive) -> Receive:
    """The body, which has been read, and then what else comes."""
    read: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return read.pop() if read else await receive()

    return receive_again


def _first_part(path: str) -> str:
    return path[1:].partition("/")[0]


def _entries_of(part: Part) -> Iterator[tuple[str, _Entry]]:
    for route in iter_route_contexts(part.routes):
        if isinstance(route.original_route, WebSocketRoute):
            continue
        first = _first_part(cast(str, route.path))
        if "{" in first:
            raise ValueError("The first part of a route's path must be a text.")
        methods = None if route.methods is None else frozenset(route.methods)
        yield first, _Entry(path=route.path_regex, methods=methods, covers=part.covers, way=_way_to(route))


def _way_to(route: RouteContext) -> _Way | None:
    """None if the route takes anything that is not known here, or says itself what becomes of its answer."""
    if route.endpoint is None or not hasattr(route, "response_field") or route.dependencies or route.status_code:
        return None
    takes = get_type_hints(route.endpoint, include_extras=True)
    gives = takes.pop("return", None)
    is_response = isinstance(gives, type) and issubclass(gives, Response)
    if not is_response and (route.response_field is None or not isinstance(route.response_class, DefaultPlaceholder)):
        return None
    texts = {name for name in route.path_regex.groupindex if takes.get(name) is str}
    requests = [name for name, kind in takes.items() if kind is Request]
    bodies = [name for name, kind in takes.items() if isinstance(kind, type) and issubclass(kind, BaseModel)]
    if len(texts) < len(route.path_regex.groupindex) or len(requests) > 1 or len(bodies) > 1:
        return None
    if len(texts) + len(requests) + len(bodies) < len(takes):
        return None
    return _Way(
        route=route,
        endpoint=cast("Callable[..., Awaitable[object]]", route.endpoint),
        request=requests[0] if requests else None,
        body=bodies[0] if bodies else None,
        model=takes[bodies[0]] if bodies else BaseModel,
        told={
            "field": route.response_field,
            "include": route.response_model_include,
            "exclude": route.response_model_exclude,
            "by_alias": route.response_model_by_alias,
            "exclude_unset": route.response_model_exclude_unset,
            "exclude_defaults": route.response_model_exclude_defaults,
            "exclude_none": route.response_model_exclude_none,
            "dump_json": True,
        },
    )
