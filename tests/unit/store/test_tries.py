"""Calls that are run again after a commit whose answer was lost, and are done once all the same."""

from collections.abc import Iterator
from typing import Any

import pytest

from danqing.store.moves import Refusal
from danqing.store.tries import once

CONNECTION: Any = None  # which is only passed on


@pytest.mark.parametrize("nothing_done", [None, *Refusal])
def test_what_turns_up_while_the_work_waits_for_its_locks_is_found(nothing_done: Refusal | None) -> None:
    # Given a commit that is seen only after the work has waited for it, and then has nothing to do, or no room
    seen: Iterator[str | None] = iter([None, "the job"])
    assert once(CONNECTION, lambda _: nothing_done, lambda _: next(seen)) == "the job"  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("nothing_done", [None, *Refusal])
def test_where_nothing_turns_up_the_work_says_what_it_did(nothing_done: Refusal | None) -> None:
    assert once(CONNECTION, lambda _: nothing_done, lambda _: None) is nothing_done
    assert once(CONNECTION, lambda _: "done", lambda _: None) == "done"
    assert once(CONNECTION, lambda _: "never", lambda _: "before") == "before"
