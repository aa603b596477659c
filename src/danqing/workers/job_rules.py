"""How long an attempt at a job may take, how many there are, and how often a failing store is asked about them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class JobRules:
    """All times in seconds.

    task_timeout_s: from claim to everything stored, each attempt, and so many times that for jobs that are made
    together; waiting for the device or while others are enlarged does not count.
    max_attempts: at failures worth another try. max_server_restarts: attempts in a row that end with the server; they
    use up none of max_attempts. stop_grace_s: for a worker to drop an overdue job, before it is killed;
    cancel_deadline_s: for it to drop a cancelled one.
    first_store_retry_s: pause after a store's failure; doubles up to max_store_retry_s. settle_grace_s: for the store
    to take the last news at stop.
    """

    task_timeout_s: float
    max_attempts: int = 3
    max_server_restarts: int = 10
    stop_grace_s: float = 10.0
    cancel_deadline_s: float = 60.0
    first_store_retry_s: float = 0.1
    max_store_retry_s: float = 5.0
    settle_grace_s: float = 5.0
