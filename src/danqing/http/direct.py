"""A short way to the routes that need little of FastAPI, which took longer than making most of their answers.

FastAPI looks for a route in each router in turn, opens three stacks of contexts around it and works out what it depends
on. A route that takes no more than the request, texts of its path and one JSON body is called from here instead, with
the same values, once the body is known to be good. Everything else goes FastAPI's way: all other routes, every body
that is refused, so that the words are the same, and the description of all of them.
"""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import iscoroutinefunction
from re import Pattern
from typing import Any, cast, get_type_hints

from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.params import Body
from fastapi.routing import RouteContext, iter_route_contexts, serialize_response
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from danqing.http.branch import Branch
from danqing.http.route_path import route_path

_JSON = "application/json"


@dataclass(frozen=True, kw_only=True)
class _Way:
    """To one route. texts: the parameters that its path has. request: the name of the one that is the request; None:
    there is none. body: the field of the one that is the body. writing: how an answer that is no response is written.
    """

    route: RouteContext
    endpoint: Callable[..., Awaitable[object]]
    texts: Sequence[str]
    request: str | None
    body: Any  # FastAPI's ModelField, which it does not export; None: there is none
    writing: Mapping[str, Any]  # of `serialize_response`

    async def run(self, scope: Scope, receive: Receive, send: Send) -> bytes | None:
        """Answers, or returns the body of a request that is not to be answered here, with nothing done.

        Raises what the route raises.
        """
        request = Request(scope, receive, send)
        values: dict[str, object] = {name: scope["path_params"][name] for name in self.texts}
        if self.body is not None:
            body = await request.body()
            values[self.body.name] = wire = self._read(request, body)
            if wire is None:
                return body
        if self.request is not None:
            values[self.request] = request
        answer = await self.endpoint(**values)
        response = answer if isinstance(answer, Response) else await self._written(answer)
        await response(scope, receive, send)
        return None

    def _read(self, request: Request, body: bytes) -> object | None:
        """None for what FastAPI is to refuse, or to understand."""
        if request.headers.get("content-type") != _JSON:  # it may say that in other words
            return None
        try:
            wire, errors = self.body.validate(json.loads(body), {}, loc=("body",))
        except (ValueError, RecursionError):
            return None
        return None if errors else wire

    async def _written(self, answer: object) -> Response:
        return Response(await serialize_response(response_content=answer, **self.writing), media_type=_JSON)


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A route, in the order in which they are looked through. methods: none: all. way: None: there is no short one."""

    path: Pattern[str]
    methods: frozenset[str]
    covers: Callable[[str], bool]
    way: _Way | None


class DirectCalls:
    """ASGI middleware, the innermost one. parts: the first that the app includes, as they are and in their order."""

    def __init__(self, app: ASGIApp, *, parts: Sequence[Branch]) -> None:
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
        body = await way.run(scope, receive, send)
        if body is not None:
            await self._app(scope, _again(body, receive), send)

    def _find(self, scope: Scope) -> _Way | None:
        """The way to the route of a request, which is noted in the scope; None if there is no short one."""
        path, method = route_path(scope), scope["method"]
        for entry in self._entries.get(_first_part(path), ()):
            if entry.methods and method not in entry.methods:
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


def _entries_of(part: Branch) -> Iterator[tuple[str, _Entry]]:
    for route in iter_route_contexts(part.routes):
        if isinstance(route.original_route, WebSocketRoute):
            continue
        first = _first_part(cast(str, route.path))
        if "{" in first:
            raise ValueError("The first part of a route's path must be a text.")
        methods = frozenset(route.methods or ())
        yield first, _Entry(path=route.path_regex, methods=methods, covers=part.covers, way=_way_to(route))


def _way_to(route: RouteContext) -> _Way | None:
    """None if the route takes anything that is not known here, or says itself what becomes of its answer."""
    needs: Dependant | None = getattr(route, "dependant", None)
    if needs is None or not iscoroutinefunction(needs.call) or route.status_code or route.max_body_size is not None:
        return None
    others = (
        *(needs.dependencies, needs.query_params, needs.header_params, needs.cookie_params),
        *(needs.http_connection_param_name, needs.response_param_name, needs.websocket_param_name),
        *(needs.background_tasks_param_name, needs.security_scopes_param_name),
    )
    texts, bodies = needs.path_params, needs.body_params
    if any(others) or not all(map(_is_any_text, texts)) or len(bodies) > 1 or not all(map(_is_whole_json, bodies)):
        return None
    gives = get_type_hints(needs.call).get("return")
    is_response = isinstance(gives, type) and issubclass(gives, Response)
    if not is_response and (route.response_field is None or not isinstance(route.response_class, DefaultPlaceholder)):
        return None
    return _Way(
        route=route,
        endpoint=needs.call,
        texts=[field.name for field in texts],
        request=needs.request_param_name,
        body=bodies[0] if bodies else None,
        writing={
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


def _is_any_text(field: Any) -> bool:  # noqa: ANN401 - see `_Way.body`
    info = field.field_info
    return info.annotation is str and not info.metadata and field.alias == field.name


def _is_whole_json(field: Any) -> bool:  # noqa: ANN401 - see `_Way.body`
    return type(field.field_info) is Body and not field.field_info.embed
