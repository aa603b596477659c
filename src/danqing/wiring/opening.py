"""Opens what a process's settings ask for. What only several processes need is an extra, and imported only for them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from danqing.config import InvalidSettings, Settings
from danqing.core.extras import how_to_install
from danqing.wiring.addresses import shared_addresses
from danqing.wiring.embedded import open_embedded
from danqing.wiring.runtime import Runtime
from danqing.wiring.start_wait import StartWait
from danqing.workers.factory import EngineFactory
from danqing.workers.prepared import PreparedProcess

if TYPE_CHECKING:
    from danqing.wiring.node import NodeRuntime

NOT_INSTALLED = f"What several processes share needs packages: {how_to_install('scaled')}"


@asynccontextmanager
async def open_runtime(
    settings: Settings,
    *,
    engine: EngineFactory | None = None,
    lock_wait_s: float = 0.0,
    wait: StartWait | None = None,
    prepared: PreparedProcess | None = None,
) -> AsyncGenerator[Runtime]:
    """A server that makes its pictures itself, or, where a Redis or a broker is named, one whose nodes make them.

    On leaving halts and closes. engine, lock_wait_s, prepared: see `open_embedded`; of no interest to the other. wait:
    for parts that are away; None: as the settings say.
    Raises InvalidSettings, UnknownModel, ModelLoadFailure, DataDirectoryInUse or StorageFailure.
    """
    addresses = shared_addresses(settings)
    if addresses is None:
        async with open_embedded(
            settings, engine=engine, lock_wait_s=lock_wait_s, wait=wait, prepared=prepared
        ) as runtime:
            yield runtime
        return
    try:
        from danqing.wiring.api import open_api
    except ImportError as exc:
        raise InvalidSettings(NOT_INSTALLED) from exc
    async with open_api(settings, addresses, patient=lock_wait_s > 0, wait=wait) as runtime:
        yield runtime


@asynccontextmanager
async def open_node(settings: Settings, *, engine: EngineFactory | None = None) -> AsyncGenerator["NodeRuntime"]:
    """See `node.open_node`; raises InvalidSettings also where nothing is shared."""
    addresses = shared_addresses(settings)
    if addresses is None:
        raise InvalidSettings(
            "A worker makes the pictures of servers that share a store with it: set DATABASE_URL and REDIS_URL, as for "
            "them. A server without these makes its pictures itself."
        )
    try:
        from danqing.wiring import node
    except ImportError as exc:
        raise InvalidSettings(NOT_INSTALLED) from exc
    async with node.open_node(settings, addresses, engine=engine) as opened:
        yield opened
