"""The turns of `danqing.core.fairness` among jobs that are all at hand: what a store works out in its database."""

from collections.abc import Iterable

from danqing.core.fairness import is_suspect, turn_of, work_of
from danqing.core.states import JobState
from danqing.core.types import Job


def turn_behind(jobs: Iterable[Job], suspect: Job) -> int:
    """The turn of a suspect that is given back among these: behind those that wait at its priority."""
    waiting = (job for job in jobs if job.state is JobState.PENDING and job.id != suspect.id)
    return max((suspect.turn, *(job.turn + 1 for job in waiting if job.priority == suspect.priority)))


def turn_among(jobs: Iterable[Job], new: Job) -> int:
    """`turn_of` a new job among these."""
    alike = [job for job in jobs if job.priority == new.priority]
    in_line = [job for job in alike if job.state in (JobState.PENDING, JobState.PROCESSING)]
    return turn_of(
        work_of(new.request),
        own_last=max((job.turn for job in in_line if job.owner == new.owner and not is_suspect(job)), default=0),
        in_service=max((job.turn for job in in_line if job.state is JobState.PROCESSING), default=0),
        next_in_line=min((job.turn for job in in_line if job.state is JobState.PENDING), default=None),
    )
