"""Pages of pictures: what a place tells in another order than it should is believed by nobody."""

import pytest

from danqing.blobs.paging import pages_of
from danqing.core.errors import StorageFailure


def test_a_place_that_does_not_list_in_order_is_refused() -> None:
    pages = pages_of([("b", "b.png"), ("c", "c.png"), ("a", "a.png")], 1)
    assert next(pages).pictures == {"b": {"b.png"}}
    with pytest.raises(StorageFailure):
        list(pages)


def test_empty_and_half_written_ones_are_told_apart() -> None:
    (page,) = pages_of([("a", None), ("b", True), ("b", "b.png")], 9)
    assert page.pictures == {"a": frozenset(), "b": {"b.png"}}
    assert page.half_written == {"b"}
