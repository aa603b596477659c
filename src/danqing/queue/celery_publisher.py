"""Sending job ids to the broker, from a thread of its own: nobody who submits waits for a broker that is away."""

import threading
import uuid
from collections import OrderedDict
from contextlib import suppress

import structlog
from celery import Celery
from kombu import Connection, Producer

from danqing.core.types import Job
from danqing.queue.celery_app import TASK, queue_of

log = structlog.get_logger(__name__)

_FIRST_PAUSE_S = 0.1
_MAX_PAUSE_S = 5.0


class CeleryPublisher:
    """Implements `JobQueue`. What cannot be sent yet waits, up to a limit; what is beyond it, and what waits when the
    process ends, the sweeper sends again (`workers.sweeper`), for the store knows it.
    """

    def __init__(self, app: Celery, *, most_waiting: int = 10_000) -> None:
        self._app = app
        self._most_waiting = most_waiting
        self._waiting: OrderedDict[str, str] = OrderedDict()  # job id → model
        self._changed = threading.Condition()
        self._closing = False
        self._sending = False
        self._away = False
        self._full = False
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        self._thread = threading.Thread(target=self._run, name="celery-publisher", daemon=True)

    def start(self) -> None:
        """Sends from now on."""
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Ids that are still to be sent."""
        return len(self._waiting) + self._sending

    async def publish(self, job: Job) -> None:
        """Has it sent soon; does not wait."""
        self.send(job.request.model, job.id)

    async def withdraw(self, job_id: str) -> None:
        """Does nothing: no message can be taken back from a broker, and none need be. One too many finds nothing."""

    def send(self, model: str, job_id: str) -> None:
        """Has a message sent soon, from any thread; does not wait."""
        with self._changed:
            if len(self._waiting) >= self._most_waiting:
                if not self._full:
                    log.warning(
                        "broker_backlog_full", waiting=len(self._waiting), hint="the rest is sent by the sweeper"
                    )
                self._full = True
                return
            self._full = False
            self._waiting[job_id] = model
            self._changed.notify_all()

    def close(self, *, within_s: float) -> None:
        """Sends what waits, for at most so long, and ends. Blocking."""
        with self._changed:
            self._changed.wait_for(lambda: self._away or not (self._waiting or self._sending), within_s)
            self._closing = True
            self._changed.notify_all()
        self._thread.join(within_s)  # a broker that answers nothing holds it; the process ends without it
        if left := self.waiting:
            log.warning("messages_not_sent", messages=left, hint="they are sent by the sweeper")

    # In the thread

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while (message := self._next()) is not None:
            job_id, model = message
            try:
                self._send(model, job_id)
            except Exception as exc:  # whatever its transport's library raises
                self._failed(model, job_id, exc)
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, pause_s)
                pause_s = min(2 * pause_s, _MAX_PAUSE_S)
            else:
                pause_s = _FIRST_PAUSE_S
                self._sent()
        self._disconnect()

    def _next(self) -> tuple[str, str] | None:
        """The oldest id that waits; None once it is closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or bool(self._waiting))
            if self._closing:
                return None
            self._sending = True
            return self._waiting.popitem(last=False)

    def _send(self, model: str, job_id: str) -> None:
        if self._producer is None:
            self._connection = self._app.connection_for_write()
            self._connection.connect()
            self._producer = self._app.amqp.Producer(self._connection, auto_declare=False)
        self._app.send_task(
            TASK, (job_id,), queue=queue_of(model), task_id=task_id_of(job_id), producer=self._producer, retry=False
        )

    def _sent(self) -> None:
        with self._changed:
            self._sending = False
            self._changed.notify_all()
            if self._away:
                log.info("broker_back")
            self._away = False

    def _failed(self, model: str, job_id: str, error: Exception) -> None:
        self._disconnect()
        with self._changed:
            self._sending = False
            self._waiting.setdefault(job_id, model)
            self._waiting.move_to_end(job_id, last=False)
            if not self._away:
                log.warning("broker_away", error=type(error).__name__, hint="jobs are accepted, and sent later")
            self._away = True
            self._changed.notify_all()

    def _disconnect(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with suppress(Exception):  # it is broken already
                connection.close()


def task_id_of(job_id: str) -> str:
    """Celery's id of a job's task: its UUID as 32 hex digits, which the zimage dialect calls `task_id` too."""
    try:
        return uuid.UUID(job_id).hex
    except ValueError:
        return job_id


def job_id_of(task_id: str) -> str:
    """The other way."""
    try:
        return str(uuid.UUID(task_id))
    except ValueError:
        return task_id
