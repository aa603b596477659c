"""From settings to the rules by which jobs are made: times, attempts, limits."""

from danqing.config import Settings
from danqing.core.orders import Limits
from danqing.workers.job_rules import JobRules
from danqing.workers.spec import WorkerRules


def worker_rules(settings: Settings) -> WorkerRules:
    """When a worker process counts as hung."""
    return WorkerRules(task_timeout_s=settings.task_timeout_s)


def job_rules(settings: Settings) -> JobRules:
    """How long an attempt may take, and how many there are."""
    return JobRules(
        task_timeout_s=settings.task_timeout_s,
        max_attempts=settings.max_attempts,
        cancel_deadline_s=settings.cancel_deadline_s,
    )


def limits(settings: Settings) -> Limits:
    """What the Studio takes in."""
    return Limits(
        max_queue_size=settings.max_queue_size,
        max_queue_of_owner=settings.max_queue_per_owner,
        max_priority=settings.max_priority,
        cancel_abandoned=settings.cancel_abandoned,
    )
