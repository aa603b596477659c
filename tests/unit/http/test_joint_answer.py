"""One object for the readers of several dialects."""

import pytest

from danqing.http.joint_answer import join


def test_fields_stand_side_by_side_in_order() -> None:
    assert list(join({"red": {"b": 1, "a": 2}, "blue": {"c": 3}}).items()) == [("b", 1), ("a", 2), ("c", 3)]


def test_what_all_agree_on_is_told_once() -> None:
    data = {"a": [1, {"b": None, "c": 2}]}
    assert join({"red": {"data": data}, "blue": {"data": {"a": [1, {"c": 2, "b": None}]}}}) == {"data": data}


@pytest.mark.parametrize(("one", "other"), [("ok", "healthy"), (1, True), (0, None), ({"a": 1}, {"a": 1, "b": 2})])
def test_what_they_differ_on_is_nobodys_and_told_as_a_conflict(one: object, other: object) -> None:
    assert join({"red": {"x": one}, "blue": {"x": other}, "grey": {"y": 1}}) == {
        "y": 1,
        "conflicts": {"x": {"red": one, "blue": other}},
    }


def test_nothing_of_nobody() -> None:
    assert join({}) == {}
