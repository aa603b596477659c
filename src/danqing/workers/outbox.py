"""In the worker process: tells the server what happens, from any thread."""

import os
import threading
from multiprocessing.connection import Connection

import structlog

from danqing.workers.failures import describe, poisons_process
from danqing.workers.messages import FromWorker, JobFailed, RunJob, ToWorker

log = structlog.get_logger(__name__)


class Outbox:
    """Sends whole messages in the order of the calls. Ends the process when the server is gone."""

    def __init__(self, connection: "Connection[FromWorker, ToWorker]") -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, message: FromWorker) -> None:
        """Blocks while the pipe is full."""
        try:
            with self._lock:
                self._connection.send(message)
        except OSError:
            os._exit(1)

    def send_failure(self, job: RunJob, error: Exception) -> bool:
        """Logs the error and tells the server that the job failed. True when the process must end because of it."""
        poisoned = poisons_process(error)
        log.error("attempt_failed", job_id=job.job_id, attempt=job.attempt, poisoned=poisoned, exc_info=error)
        failure = describe(error, poisoned=poisoned)
        self.send(JobFailed(job_id=job.job_id, attempt=job.attempt, failure=failure, poisoned=poisoned))
        return poisoned
