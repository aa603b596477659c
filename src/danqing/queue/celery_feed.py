"""Celery's worker inside a node: fetches messages in threads, and hands each to `celery_app.Deliver`."""

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog
from celery import Celery, signals
from celery.worker import WorkController, state

from danqing.queue.celery_app import queue_of
from danqing.queue.celery_publisher import job_id_of

log = structlog.get_logger(__name__)

_FIRST_PAUSE_S = 1.0
_MAX_PAUSE_S = 30.0
_HEARTBEAT_S = 5.0  # what Flower knows a worker to live by
_LOOK_S = 0.5


@dataclass(frozen=True, kw_only=True)
class FeedEnds:
    """Called from threads of Celery's. asked_to_end: by `celery control shutdown`, or by Flower. revoked: with the id
    of a job whose task was revoked.
    """

    asked_to_end: Callable[[], None]
    revoked: Callable[[str], None]


class CeleryFeed:
    """One a process: Celery knows by variables of its modules whether a worker is to end. Fetches at most as many
    messages as it has threads, for each is kept until a device is free again.
    """

    def __init__(self, app: Celery, *, models: Collection[str], hostname: str, threads: int, ends: FeedEnds) -> None:
        self._app = app
        self._hostname = hostname
        self._threads = threads
        self._ends = ends
        self._ending = threading.Event()
        self.consuming = threading.Event()  # since the broker answered first
        self.paused = threading.Event()  # set by whoever wants nothing to be fetched for a while
        self.is_fetching = True  # what Celery's app remembers from one of its workers to the next
        self.queues = tuple(queue_of(model) for model in models)
        self._thread = threading.Thread(target=self._run, name="celery-worker", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether it may still have messages in hand."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Fetches from now on, as soon as the broker answers."""
        self._thread.start()

    def end(self) -> None:
        """Fetches no more; ends once nothing that was fetched is in hand any more. Does not wait."""
        self._ending.set()
        state.should_stop = 0

    def join(self, within_s: float) -> bool:
        """Waits for its end; False if it did not come. Blocking."""
        if self._thread.is_alive():
            self._thread.join(within_s)
        return not self._thread.is_alive()

    # In the thread

    def _run(self) -> None:
        self._app.set_default()  # Celery's threads look for it
        logging.getLogger("celery.app.trace").setLevel(logging.ERROR)  # it warns of each message that goes back
        signals.task_revoked.connect(self._revoked, weak=False)
        try:
            pause_s = _FIRST_PAUSE_S
            while not self._ending.is_set():
                if self._consume():
                    self._ends.asked_to_end()
                    return
                if self._ending.wait(pause_s):
                    return
                pause_s = min(2 * pause_s, _MAX_PAUSE_S)
        finally:
            signals.task_revoked.disconnect(self._revoked)
            state.should_stop = state.should_terminate = None

    def _consume(self) -> bool:
        """True if somebody else than `end` has asked it to end."""
        controller = _Controller(
            app=self._app,
            hostname=self._hostname,
            pool="threads",
            concurrency=self._threads,
            # What workers tell each other is what the store tells everybody; with many it would be most of the traffic.
            without_gossip=True,
            without_mingle=True,
            heartbeat_interval=_HEARTBEAT_S,
            loglevel="WARNING",
        )
        controller.feed = self
        try:
            controller.start()
        except Exception:  # a thread's top
            log.exception("celery_worker_failed")
            return False
        if controller.exitcode:
            log.error("celery_worker_failed", exit_code=controller.exitcode)
            return False
        return not self._ending.is_set()

    def _revoked(self, **told: object) -> None:
        request = told.get("request")
        self._ends.revoked(job_id_of(str(getattr(request, "id", ""))))


class _Controller(WorkController):
    feed: CeleryFeed
    looks: object = None

    def on_consumer_ready(self, consumer: object) -> None:
        """Celery's own name; called again after each reconnection."""
        if self.looks is None:  # without, an idle one looks only at each heartbeat whether it is to end
            self.looks = self.timer.call_repeatedly(_LOOK_S, self.look)
        self.feed.consuming.set()
        log.info("consuming")

    def look(self) -> None:
        """In Celery's own thread, where its consumer may be told something."""
        wanted = not self.feed.paused.is_set()
        if wanted == self.feed.is_fetching:
            return
        try:
            for queue in self.feed.queues:
                (self.consumer.add_task_queue if wanted else self.consumer.cancel_task_queue)(queue)
            self.feed.is_fetching = wanted
            log.info("fetching" if wanted else "not_fetching")
        except Exception as exc:  # it is just reconnecting, say: at the next look
            log.debug("celery_consumer_not_told", error=type(exc).__name__)
