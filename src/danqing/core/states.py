"""States of a job and the moves between them."""

from enum import StrEnum


class JobState(StrEnum):
    """Where a job is on its way to pictures."""

    PENDING = "pending"  # accepted and stored, waiting for a worker
    PROCESSING = "processing"  # a worker has claimed it
    GENERATED = "generated"  # the original picture is stored; further artifacts (an upscaled copy) are being made
    COMPLETED = "completed"  # everything asked for is stored
    FAILED = "failed"  # ended without a picture, with an error
    CANCELLED = "cancelled"  # ended because its owner asked

    @property
    def is_final(self) -> bool:
        """True when nothing more will happen to the job."""
        return not MOVES[self]

    @property
    def is_running(self) -> bool:
        """True while an attempt is at it."""
        return self in (JobState.PROCESSING, JobState.GENERATED)


MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.PENDING: frozenset({JobState.PROCESSING, JobState.FAILED, JobState.CANCELLED}),
    # Back to pending: its worker was lost and an attempt is left.
    JobState.PROCESSING: frozenset(
        {JobState.PENDING, JobState.GENERATED, JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED}
    ),
    # Back to pending: its worker was lost before everything asked for was there.
    JobState.GENERATED: frozenset({JobState.PENDING, JobState.COMPLETED, JobState.FAILED}),
    JobState.COMPLETED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}
