"""Bodies in memory: as many as there is room for, and all room back at the end."""

import pytest

from danqing.core.errors import TooBusy
from danqing.http.body_budget import COUNTED_AT_MOST_BYTES, FREE_BYTES, WIDEST, BodyBudget, held_now

MEBIBYTE = 1024 * 1024


def test_a_body_counts_until_it_is_not_needed_any_more() -> None:
    budget = BodyBudget()

    with budget.held() as held:
        for received in (100_000, 200_000, 300_000):
            held.grow_to(received)
        assert budget.held_bytes == WIDEST * (300_000 - FREE_BYTES)
        held.release()
        assert budget.held_bytes == 0

    assert budget.held_bytes == 0


def test_what_goes_to_the_disk_does_not_count() -> None:
    budget = BodyBudget()

    with budget.held() as held:
        held.grow_to(200 * MEBIBYTE)

        assert budget.held_bytes == COUNTED_AT_MOST_BYTES


def test_what_there_is_no_room_for_is_refused_but_small_bodies_never_are() -> None:
    budget = BodyBudget(3 * MEBIBYTE)

    with budget.held() as first, budget.held() as second, budget.held() as small:
        first.grow_to(2 * MEBIBYTE)
        second.grow_to(MEBIBYTE // 4)
        with pytest.raises(TooBusy):
            second.grow_to(2 * MEBIBYTE)
        small.grow_to(FREE_BYTES)

    # Then there is room again
    with budget.held() as third:
        third.grow_to(2 * MEBIBYTE)
    assert budget.held_bytes == 0


def test_who_has_taken_his_share_leaves_the_rest_to_others() -> None:
    budget = BodyBudget(4 * MEBIBYTE, 2 * MEBIBYTE)

    with budget.held("one") as first, budget.held("one") as second, budget.held("two") as third:
        first.grow_to(2 * MEBIBYTE)
        with pytest.raises(TooBusy):
            second.grow_to(2 * MEBIBYTE)
        third.grow_to(2 * MEBIBYTE)
        first.release()
        second.grow_to(2 * MEBIBYTE)

    assert budget.held_bytes == 0


def test_files_count_until_they_are_closed_or_the_request_ends() -> None:
    budget = BodyBudget(max_open_files=3)

    with budget.held("one") as first, budget.held("one") as second, budget.held("two") as third:
        first.open_file()
        second.open_file()
        with pytest.raises(TooBusy):
            second.open_file()
        third.open_file()
        with pytest.raises(TooBusy) as caught:
            third.open_file()
        first.close_file()
        third.open_file()
        assert budget.open_files == 3
        assert third.refused is caught.value

    third.close_file()
    assert budget.open_files == 0


def test_a_request_knows_what_it_holds() -> None:
    budget = BodyBudget(max_open_files=1)

    with budget.held("one") as held:
        assert held_now() is held
    held_now().open_file()

    assert budget.open_files == 0
