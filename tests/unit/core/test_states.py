"""The state machine is the one of the design."""

import pytest

from danqing.core.states import MOVES, JobState

DESIGNED = {
    "pending": {"processing", "failed", "cancelled"},
    "processing": {"pending", "generated", "completed", "failed", "cancelled"},
    "generated": {"pending", "completed", "failed"},
    "completed": set(),
    "failed": set(),
    "cancelled": set(),
}


def test_the_moves_are_those_of_the_design() -> None:
    assert {str(state): {str(after) for after in moves} for state, moves in MOVES.items()} == DESIGNED


@pytest.mark.parametrize("state", JobState)
def test_a_final_state_is_one_without_moves(state: JobState) -> None:
    assert state.is_final is (state in {JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})


@pytest.mark.parametrize("state", JobState)
def test_every_state_can_end(state: JobState) -> None:
    reached, edge = {state}, {state}
    while edge:
        edge = {after for before in edge for after in MOVES[before]} - reached
        reached |= edge
    assert any(after.is_final for after in reached)
