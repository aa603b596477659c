"""The board keeps the newest progress of running jobs only."""

from dataclasses import replace

import pytest

from danqing.core.events import ProgressMade, StateChanged
from danqing.core.progress import ProgressBoard
from danqing.core.states import JobState
from danqing.core.types import Job, Progress, Stage
from tests.fakes.domain import a_job

RUNNING = replace(a_job(), state=JobState.PROCESSING)


def step(number: int) -> Progress:
    return Progress(stage=Stage.DENOISING, step=number, total_steps=9)


def board_of(job: Job) -> ProgressBoard:
    """A board that has seen the job in its state, and then a step of it."""
    board = ProgressBoard()
    board.note(StateChanged(job=job))
    board.note(ProgressMade(job_id=job.id, progress=step(1)))
    return board


def test_the_newest_step_counts() -> None:
    board = board_of(RUNNING)
    board.note(ProgressMade(job_id=RUNNING.id, progress=step(2)))
    assert board.latest(RUNNING.id) == step(2)
    assert board.latest("nobody") is None


@pytest.mark.parametrize("state", [state for state in JobState if state.is_final or state is JobState.PENDING])
def test_a_step_of_a_job_that_does_not_run_is_not_kept(state: JobState) -> None:
    assert board_of(replace(RUNNING, state=state)).latest(RUNNING.id) is None


@pytest.mark.parametrize("state", [state for state in JobState if state.is_final or state is JobState.PENDING])
def test_a_job_that_stops_running_is_forgotten(state: JobState) -> None:
    board = board_of(RUNNING)
    board.note(StateChanged(job=replace(RUNNING, state=state)))
    assert board.latest(RUNNING.id) is None


def test_further_states_of_a_running_job_keep_its_progress() -> None:
    board = board_of(RUNNING)
    board.note(StateChanged(job=replace(RUNNING, state=JobState.GENERATED)))
    assert board.latest(RUNNING.id) == step(1)
