"""FastAPI whose OpenAPI document states bounds and examples as they are, and keys."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from pydantic import JsonValue
from starlette.routing import BaseRoute

from danqing.http.bare import BareFastAPI
from danqing.http.branch import with_branches

_NULL = "\0null"
_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_SCHEMES = {
    "header": {"type": "apiKey", "in": "header", "name": "X-Auth-Key"},
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic", "description": "The password is the key; any user name."},
}


class ExactFastAPI(BareFastAPI):
    """Whole bounds are integers, where FastAPI writes each as a float, 64.0 for 64. A bound that a float cannot hold
    (2**63 - 1) is lost before; say `lt=2**63`. Examples may hold null: see `example`.

    is_open: which paths need no key, if the others do; None: none does.
    """

    is_open: Callable[[str], bool] | None = None
    _exact_schema: dict[str, Any] | None = None  # made once: it is large

    @property
    def routes(self) -> list[BaseRoute]:
        """All that are described: those of branches, too. To be read only."""
        return list(with_branches(self.router.routes))

    def openapi(self) -> dict[str, Any]:
        """See `FastAPI`."""
        if self._exact_schema is None:
            schema = cast("dict[str, Any]", _exact(super().openapi()))
            if self.is_open is not None:
                _tell_keys(schema, self.is_open)
            self._exact_schema = schema
        return self._exact_schema


def example(value: object) -> JsonValue:
    """JSON as an example in what FastAPI is told of a route or a model, which would leave out members that are null."""
    if isinstance(value, Mapping):
        return {key: example(member) for key, member in cast("Mapping[str, object]", value).items()}
    if isinstance(value, list):
        return [example(member) for member in cast("list[object]", value)]
    return _NULL if value is None else cast("JsonValue", value)


def self_contained(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A pydantic model's schema without `$defs`, each put where it is referred to: for a place inside a document."""
    defined: Mapping[str, object] = schema.get("$defs", {})

    def put_in(node: object) -> object:
        if isinstance(node, list):
            return [put_in(member) for member in cast("list[object]", node)]
        if not isinstance(node, dict):
            return node
        members = cast("dict[str, object]", node)
        if isinstance(name := members.get("$ref"), str):
            return put_in(defined[name.removeprefix("#/$defs/")])
        return {key: put_in(member) for key, member in members.items() if key != "$defs"}

    return cast("dict[str, Any]", put_in(schema))


def _exact(node: object) -> object:
    if node == _NULL:
        return None
    if isinstance(node, dict):
        items = cast("dict[str, object]", node).items()
        return {key: _bound(value) if key in _BOUNDS else _exact(value) for key, value in items}
    if isinstance(node, list):
        return [_exact(value) for value in cast("list[object]", node)]
    return node


def _bound(value: object) -> object:
    """A property that happens to be called `minimum` is an object, and stays one."""
    return int(value) if isinstance(value, float) and value.is_integer() else _exact(value)


def _tell_keys(schema: dict[str, Any], is_open: Callable[[str], bool]) -> None:
    """Any one of the schemes will do, and on open paths none is needed."""
    schema.setdefault("components", {})["securitySchemes"] = _SCHEMES
    schema["security"] = [{name: []} for name in _SCHEMES]
    for path, operations in schema.get("paths", {}).items():
        if is_open(path):
            for operation in operations.values():
                operation["security"] = []
