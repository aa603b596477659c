"""What people ask and tell the nodes of a database from outside: who lives, who is to drain; and Celery's programs."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from danqing.config import InvalidSettings, Settings
from danqing.core.shared_store import Node, Nodes
from danqing.wiring.addresses import shared_addresses
from danqing.wiring.stores import open_stores

if TYPE_CHECKING:
    from celery import Celery

NOTHING_SHARED = "Only servers that share a store have nodes: set DATABASE_URL and REDIS_URL, as for them."


async def living_nodes(settings: Settings) -> Sequence[Node]:
    """By name. Raises InvalidSettings or StorageFailure."""
    async with _nodes_of(settings) as nodes:
        return await nodes.alive()


async def ask_to_drain(settings: Settings, name: str) -> int:
    """How many nodes of this name, or id, have been asked. Raises InvalidSettings or StorageFailure."""
    async with _nodes_of(settings) as nodes:
        return await nodes.ask_to_drain(name)


@asynccontextmanager
async def _nodes_of(settings: Settings) -> AsyncGenerator[Nodes]:
    if shared_addresses(settings) is None:
        raise InvalidSettings(NOTHING_SHARED)
    async with open_stores(settings, alone=False) as stores:
        if stores.shared is None:
            raise InvalidSettings(NOTHING_SHARED)
        yield stores.shared.nodes


def looking_celery_app(settings: Settings) -> "Celery":
    """An app that looks at workers and their tasks, and takes none. Raises InvalidSettings."""
    if (addresses := shared_addresses(settings)) is None:
        raise InvalidSettings(NOTHING_SHARED)
    from celery import signals

    from danqing.queue.celery_app import Broker, celery_app

    signals.worker_init.connect(_refuse, weak=False)
    return celery_app(Broker(url=addresses.broker.get_secret_value(), models=()))


def _refuse(**_: object) -> None:
    raise SystemExit("This app has no devices. Start a node with: danqing worker")
