"""FastAPI whose OpenAPI document states bounds as they are: it writes every bound as a float, 64.0 for 64."""

from typing import Any, cast

from fastapi import FastAPI

_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})


class ExactFastAPI(FastAPI):
    """Whole bounds are integers. A bound that a float cannot hold (2**63 - 1) is lost before; say `lt=2**63`."""

    def openapi(self) -> dict[str, Any]:
        """See `FastAPI`."""
        return cast("dict[str, Any]", _exact(super().openapi()))


def _exact(node: object) -> object:
    if isinstance(node, dict):
        items = cast("dict[str, object]", node).items()
        return {key: _bound(value) if key in _BOUNDS else _exact(value) for key, value in items}
    if isinstance(node, list):
        return [_exact(value) for value in cast("list[object]", node)]
    return node


def _bound(value: object) -> object:
    """A property that happens to be called `minimum` is an object, and stays one."""
    return int(value) if isinstance(value, float) and value.is_integer() else _exact(value)
