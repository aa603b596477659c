"""Which previews become partial images."""

import pytest

from danqing.dialects.openai.partials import PartialPicker


def taken(wanted: int, total: int, *, lost: frozenset[int] = frozenset()) -> list[int]:
    picker = PartialPicker(wanted)
    steps = [step for step in range(1, total) if step not in lost and picker.take(step, total) is not None]
    return steps


@pytest.mark.parametrize(
    ("wanted", "total", "steps"),
    [
        (0, 9, []),
        (1, 9, [4]),
        (2, 9, [3, 6]),
        (3, 9, [2, 4, 6]),
        (3, 50, [12, 25, 37]),
        (3, 4, [1, 2, 3]),
        (3, 3, [1, 2]),
        (3, 1, []),
        (1, 2, [1]),
    ],
)
def test_as_many_as_asked_for_evenly_spread(wanted: int, total: int, steps: list[int]) -> None:
    assert taken(wanted, total) == steps


@pytest.mark.parametrize("wanted", [1, 2, 3])
@pytest.mark.parametrize("total", range(1, 51))
def test_exactly_as_many_where_there_are_that_many_steps_before_the_last(wanted: int, total: int) -> None:
    assert len(taken(wanted, total)) == min(wanted, total - 1)


def test_a_lost_preview_is_made_up_for() -> None:
    assert taken(3, 9, lost=frozenset({2, 3, 4})) == [5, 6, 7]


def test_indexes_count_from_zero_also_over_a_second_try() -> None:
    picker = PartialPicker(2)
    first = [picker.take(step, 9) for step in range(1, 5)]
    second = [picker.take(step, 9) for step in range(1, 9)]

    assert [index for index in first + second if index is not None] == [0, 1]
