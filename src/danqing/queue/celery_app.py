"""The Celery app: one task, and a queue for each model; how long a broker may keep anybody waiting."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from celery import Celery, Task
from celery.exceptions import Reject
from kombu import Exchange, Queue

TASK = "danqing.make_picture"
_PREFIX = "danqing."
_CONNECT_S = 5.0
_SOCKET_S = 20.0  # longer than the second for which a worker lets Redis keep it waiting for work
_HEARTBEAT_S = 30.0

Deliver = Callable[[str, str], bool]
"""Model and job id; blocks until the message may go. False: nobody took it, so it goes back to the broker."""


@dataclass(frozen=True, kw_only=True)
class Broker:
    """url: may have a password. models: of whose queues a worker fetches; messages may be sent for any. longest_s: for
    which a worker keeps a message, at most.

    shutdown_s: how long a worker that is to end at once still keeps what it has.
    """

    url: str = field(repr=False)
    models: tuple[str, ...]
    longest_s: float = 3600.0
    shutdown_s: float = 0.0


def queue_of(model: str) -> str:
    """The name of the queue for jobs of this model."""
    return f"{_PREFIX}{model}"


def declared_queue(model: str) -> Queue:
    """Durable and classic: a quorum queue drops a message that has come back often, and replicates what the store
    already keeps. For any model, also for one that this process does not name: others may.
    """
    name = queue_of(model)
    return Queue(name, Exchange("danqing", type="direct", durable=True), routing_key=name, durable=True)


def model_of(queue: str) -> str:
    """The other way."""
    return queue.removeprefix(_PREFIX)


def celery_app(broker: Broker, deliver: Deliver | None = None) -> Celery:
    """deliver: what the task does, called in a thread of Celery's; None: this app only sends and looks."""
    app = Celery("danqing", set_as_current=False)
    app.conf.update(_settings(broker))

    def make_picture(task: Task, job_id: str) -> None:
        """A job of the queue's model waits: this one, or, if others go before it, another."""
        model = model_of(task.request.delivery_info["routing_key"])
        if deliver is None or not deliver(model, job_id):
            raise Reject("no device took it", requeue=True)

    app.task(bind=True, name=TASK, shared=False)(make_picture)
    app.finalize()
    return app


def _settings(broker: Broker) -> dict[str, object]:
    return {
        "broker_url": broker.url,
        "broker_transport_options": _transport_options(broker),
        "broker_connection_timeout": _CONNECT_S,
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_heartbeat": _HEARTBEAT_S,
        # Only JSON: a message that somebody else wrote can name a job, and nothing more.
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        # The store tells what became of a job, so nothing is lost with a message; late acknowledgement keeps a worker
        # from taking more than its devices can make.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        # After a broken connection Celery would fetch less for a while, and raise that again from the thread of a task
        # that ends, while its loop may be at the same connection: both would wait until the broker ends it.
        "worker_enable_prefetch_count_reduction": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_soft_shutdown_timeout": broker.shutdown_s,
        "task_queues": [declared_queue(model) for model in broker.models],
        "task_default_queue": queue_of(broker.models[0]) if broker.models else f"{_PREFIX}none",
        "task_create_missing_queues": False,
        # For Flower.
        "worker_send_task_events": True,
        "task_send_sent_event": True,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


def _transport_options(broker: Broker) -> dict[str, Any]:  # Any: each transport has its own
    scheme = urlsplit(broker.url).scheme
    if scheme in ("redis", "rediss"):
        return {
            "global_keyprefix": "danqing:celery:",
            "visibility_timeout": broker.longest_s,
            "socket_connect_timeout": _CONNECT_S,
            "socket_timeout": _SOCKET_S,
            "socket_keepalive": True,
        }
    if scheme in ("amqp", "amqps", "pyamqp"):
        return {"confirm_publish": True, "write_timeout": _SOCKET_S}
    return {}
