"""What has become of a batch, judged by its jobs."""

import pytest

from danqing.core.batches import Batch, BatchState
from danqing.core.states import JobState
from tests.fakes.domain import NOW, a_job


def a_batch(*states: str) -> Batch:
    jobs = tuple(a_job(state=JobState(state)) for state in states)
    return Batch(id="b", owner="local", created_at=NOW, size=4, jobs=jobs)


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
    assert a_batch(*states).state is judged
