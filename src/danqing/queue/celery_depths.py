"""How many messages wait in the broker."""

from collections.abc import Collection, Mapping

import structlog
from celery import Celery
from kombu import Connection

from danqing.queue.celery_app import queue_of

log = structlog.get_logger(__name__)


class CeleryDepths:
    """Asks over a connection of its own each time: it is asked rarely, and a broken one is no trouble then."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def of(self, models: Collection[str]) -> Mapping[str, int] | None:
        """Messages that nobody has fetched yet, by model. Blocking.

        None while the broker does not answer.
        """
        try:
            with self._app.connection_for_read() as connection:
                connection.connect()
                return _depths(connection, models)
        except Exception as exc:  # whatever its transport's library raises
            log.debug("broker_not_asked", error=type(exc).__name__)
            return None


def _depths(connection: Connection, models: Collection[str]) -> Mapping[str, int]:
    """Makes queues that are not there: Kombu does not find out, in a Redis where keys have a prefix."""
    channel = connection.channel()
    return {
        model: channel.queue_declare(queue_of(model), durable=True, auto_delete=False).message_count for model in models
    }
