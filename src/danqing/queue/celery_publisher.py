"""Sending job ids to the broker, from a thread of its own: nobody who submits waits for a broker that is away."""

import threading
import time
import uuid
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass

import structlog
from celery import Celery
from kombu import Connection, Producer
from kombu.exceptions import OperationalError

from danqing.core.types import Job
from danqing.queue.celery_app import TASK, declared_queue

log = structlog.get_logger(__name__)

_FIRST_PAUSE_S = 0.1
_MAX_PAUSE_S = 5.0


@dataclass(frozen=True)
class _Message:
    """since: when it was given to the publisher, by the monotonic clock."""

    job_id: str
    model: str
    since: float


class CeleryPublisher:
    """Implements `JobQueue`. What cannot be sent yet, for the broker is away, waits, up to a limit. The sweeper
    (`workers.sweeper`) sends for what is beyond it, for what waits when the process ends, and for what the broker
    refuses: the store knows it.
    """

    def __init__(self, app: Celery, *, most_waiting: int = 10_000) -> None:
        self._app = app
        self._most_waiting = most_waiting
        self._waiting: OrderedDict[str, _Message] = OrderedDict()  # by job id
        self._changed = threading.Condition()
        self._closing = False
        self._sending: _Message | None = None
        self._refused: set[str] = set()  # models of which the newest message was
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
        with self._changed:
            return len(self._waiting) + (self._sending is not None)

    @property
    def waiting_s(self) -> float:
        """For how long the oldest of them has waited; 0 if none does."""
        with self._changed:
            oldest = self._sending or next(iter(self._waiting.values()), None)
        return 0.0 if oldest is None else time.monotonic() - oldest.since

    def offer(self, job: Job) -> bool:
        """To nobody: who would take it cannot see what is being stored."""
        return False

    async def publish(self, job: Job) -> None:
        """Has it sent soon; does not wait."""
        self.send(job.request.model, job.id)

    async def move_up(self, job: Job) -> None:
        """Does nothing: messages say only that there is work, and the store says which."""

    async def withdraw(self, job_id: str) -> None:
        """Does nothing: no message can be taken back from a broker, and none need be. One too many finds nothing."""

    def send(self, model: str, job_id: str) -> bool:
        """Has a message sent soon, from any thread; does not wait. False: too many wait, so it is not kept."""
        with self._changed:
            if job_id in self._waiting:
                return True
            if len(self._waiting) >= self._most_waiting:
                if not self._full:
                    log.warning(
                        "broker_backlog_full", waiting=len(self._waiting), hint="the rest is sent by the sweeper"
                    )
                self._full = True
                return False
            self._full = False
            self._waiting[job_id] = _Message(job_id, model, time.monotonic())
            self._changed.notify_all()
            return True

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
            try:
                self._send(message, self._connected())
            except Exception as exc:  # whatever its transport's library raises
                if not self._is_away(exc):
                    self._refuse(message, exc)
                    continue
                self._keep(message, exc)
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, pause_s)
                pause_s = min(2 * pause_s, _MAX_PAUSE_S)
            else:
                pause_s = _FIRST_PAUSE_S
                self._sent(message)
        self._disconnect()

    def _next(self) -> _Message | None:
        """The oldest id that waits; None once it is closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or bool(self._waiting))
            if self._closing:
                return None
            _, self._sending = self._waiting.popitem(last=False)
            return self._sending

    def _connected(self) -> Producer:
        if self._producer is None:
            self._connection = self._app.connection_for_write()
            self._connection.connect()
            self._producer = self._app.amqp.Producer(self._connection, auto_declare=False)
        return self._producer

    def _send(self, message: _Message, producer: Producer) -> None:
        self._app.send_task(
            TASK,
            (message.job_id,),
            queue=declared_queue(message.model),
            task_id=task_id_of(message.job_id),
            producer=producer,
            retry=False,
        )

    def _is_away(self, error: Exception) -> bool:
        """Whether it is the broker that fails, and not this message."""
        if self._connection is None or self._producer is None:
            return True
        return isinstance(error, (OSError, OperationalError, *self._connection.connection_errors))

    def _sent(self, message: _Message) -> None:
        self._refused.discard(message.model)
        with self._changed:
            self._sending = None
            self._changed.notify_all()
            if self._away:
                log.info("broker_back")
            self._away = False

    def _refuse(self, message: _Message, error: Exception) -> None:
        """Lets it go: kept, it would hold up all the others."""
        self._disconnect()  # a channel does not outlive what it refuses
        if message.model not in self._refused:
            log.warning(
                "message_refused",
                error=type(error).__name__,
                model=message.model,
                job_id=message.job_id,
                hint="the sweeper sends for it again; told once, until a message of the model is sent",
            )
        self._refused.add(message.model)
        with self._changed:
            self._sending = None
            self._changed.notify_all()

    def _keep(self, message: _Message, error: Exception) -> None:
        self._disconnect()
        with self._changed:
            self._sending = None
            self._waiting[message.job_id] = message  # it has waited longer than one that came meanwhile
            self._waiting.move_to_end(message.job_id, last=False)
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
