"""A RabbitMQ for tests where one runs on this machine; there is no wheel that brings one."""

from collections.abc import Sequence

import pytest
from kombu import Connection

URL = "amqp://guest:guest@127.0.0.1:5672//"


def rabbitmq_url() -> str:
    """Skips the test where none answers."""
    try:
        with Connection(URL, connect_timeout=2) as connection:
            connection.connect()
    except OSError:
        pytest.skip("no RabbitMQ answers at 127.0.0.1:5672")
    return URL


def empty_queues(url: str, names: Sequence[str]) -> None:
    """Removes these queues, and what is in them."""
    with Connection(url) as connection:
        for name in names:
            connection.channel().queue_delete(name)
