"""Whose turn it is: owners share the devices by the work that their jobs are, and each owner's jobs keep their order.

Self-clocked fair queueing. A job's turn is given once, when it is accepted, and stored with it, so the order outlives
restarts and a place in it can be counted. Jobs are taken by priority, highest first, then by turn, then by sequence.
Two get another one: a job that may be what kills its workers, when it comes back, behind those that wait; and one that
is moved up to a higher priority, as a new one there.
"""

from danqing.core.types import GenerationRequest, Job

ATTEMPTS_OF_A_SUSPECT = 2  # a job tried this often may be what kills its workers


def work_of(request: GenerationRequest) -> int:
    """How much of a device's time a picture takes, as far as it can be known before: pixels times steps. At least 1."""
    return max(1, request.width * request.height * request.num_inference_steps)


def turn_of(work: int, *, own_last: int, in_service: int, next_in_line: int | None) -> int:
    """The turn of a new job. All of its priority, 0 where there is none: own_last, the largest turn of its owner's
    pending and processing jobs, suspects left out; in_service, the largest of all processing ones. next_in_line: the
    least of all pending.

    One owner's turns grow by his jobs' work. Who has none in line begins where the devices are by now: he goes before
    what others have piled up, and not before those whose turn has come. A job may run before its turn, for its model is
    loaded; the devices are not there as long as others wait whose turn comes before.
    """
    now = in_service if next_in_line is None else min(in_service, next_in_line)
    return max(own_last + work, now + work, next_in_line or 0)


def is_suspect(job: Job) -> bool:
    """It was tried so often that it lets others go first when it waits again."""
    return len(job.attempts) >= ATTEMPTS_OF_A_SUSPECT


def order_of_taking(job: Job) -> tuple[int, int, int]:
    """Smaller is taken earlier."""
    return -job.priority, job.turn, job.sequence
