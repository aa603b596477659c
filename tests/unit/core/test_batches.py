"""What has become of a batch, judged by its jobs."""

import pytest

from danqing.core.batches import PATIENCE, Batch, BatchState
from danqing.core.states import JobState
from tests.fakes.domain import NOW, a_job


def a_batch(*states: str, size: int | None = None) -> Batch:
    jobs = tuple(a_job(state=JobState(state), created_at=NOW) for state in states)
    return Batch(id="b", owner="local", created_at=NOW, size=size or len(jobs), jobs=jobs)


@pytest.mark.parametrize(
    ("states", "judged"),
    [
        (("pending",), BatchState.PENDING),
        (("pending", "pending"), BatchState.PENDING),
        (("pending", "processing"), BatchState.RUNNING),
        (("pending", "completed"), BatchState.RUNNING),
        (("generated",), BatchState.RUNNING),
        (("completed", "completed"), BatchState.SUCCESS),
        (("completed", "failed"), BatchState.PARTIAL),
        (("cancelled", "completed"), BatchState.PARTIAL),
        (("failed", "cancelled"), BatchState.ERROR),
        (("failed",), BatchState.ERROR),
        (("cancelled", "cancelled"), BatchState.CANCELLED),
    ],
)
def test_state(states: tuple[str, ...], judged: BatchState) -> None:
    assert a_batch(*states).state_at(NOW) is judged


@pytest.mark.parametrize(
    ("states", "judged"),
    [(("completed",), BatchState.PARTIAL), (("failed",), BatchState.ERROR), (("cancelled",), BatchState.CANCELLED)],
)
def test_a_batch_waits_for_the_jobs_that_were_announced_but_not_for_ever(
    states: tuple[str, ...], judged: BatchState
) -> None:
    batch = a_batch(*states, size=3)
    assert batch.state_at(NOW + PATIENCE / 2) is BatchState.RUNNING
    assert batch.state_at(NOW + PATIENCE) is judged


def test_nothing_begun_is_pending_however_many_are_to_come() -> None:
    assert a_batch("pending", size=3).state_at(NOW) is BatchState.PENDING
