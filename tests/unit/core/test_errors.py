"""The tree of errors: what clients may rely on."""

import inspect
import re

import pytest

from danqing.core import errors
from danqing.core.errors import DanqingError, InvalidImage, InvalidRequest, NotFound, nearest

ALL = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, DanqingError) and kind.__module__ == errors.__name__
]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    # Given the tree as drawn: depth and name of each line
    drawn: dict[str, str | None] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"    ([│ ]*(?:[├└]── )?)(\w+)", line):
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            drawn[match[2]] = path[depth - 1] if depth else None
    # Then it has exactly the classes, each under its base
    assert drawn == {
        kind.__name__: kind.__base__.__name__ if kind is not DanqingError and kind.__base__ else None for kind in ALL
    }


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_an_error_carries_its_message_and_nothing_else(kind: type[DanqingError]) -> None:
    assert str(kind()) == kind().public_message == kind.default_message
    assert kind("Said otherwise.").public_message == "Said otherwise."
    assert re.fullmatch("[a-z_]+", kind.code)


def test_codes_tell_the_leaves_apart() -> None:
    leaves = [kind.code for kind in ALL if not kind.__subclasses__()]
    assert len(leaves) == len(set(leaves))


def test_an_invalid_request_names_its_parameter() -> None:
    assert InvalidRequest("Wrong.", parameter="width").parameter == "width"
    assert InvalidRequest("Wrong.").parameter is None


def test_a_table_has_for_an_error_what_it_has_for_its_nearest_ancestor() -> None:
    table = {DanqingError: "any", InvalidRequest: "request", InvalidImage: "image"}
    assert nearest(table, InvalidImage()) == "image"
    assert nearest(table, errors.UnknownModel()) == "request"
    assert nearest(table, NotFound()) == "any"
    with pytest.raises(LookupError, match="NotFound"):
        nearest({InvalidRequest: "request"}, NotFound())
