"""PostgreSQL's advisory locks: their numbers, and those that last as long as a connection is held."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from sqlalchemy import BigInteger, Connection, Engine, Select, bindparam, func, select
from sqlalchemy.exc import SQLAlchemyError

from danqing.core.background import outliving, running
from danqing.core.errors import DataDirectoryInUse, StorageAway, StorageFailure
from danqing.store.postgres_connections import described, is_passing

log = structlog.get_logger(__name__)

ALL_OWNERS = ("owners", "")
MIGRATION = ("migration", "")
WHOLE = ("whole", "")
_KEY = bindparam("key", type_=BigInteger)
TRY = select(func.pg_try_advisory_lock(_KEY))
TRY_SHARED = select(func.pg_try_advisory_lock_shared(_KEY))
LEAVE = select(func.pg_advisory_unlock_all())
LOOK_AGAIN_S = 5.0  # whether a lock that is held for long still is
SILENT_S = 30.0  # after which the server frees the lock of a process that stands still, or is cut off
_PAUSE_S = 0.1  # between two tries


def key_of(kind: str, name: str) -> int:
    """The number of a lock, signed, 64 bits; two names hardly ever have one, and would only wait for each other."""
    digest = hashlib.blake2b(f"danqing/{kind}/{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


@asynccontextmanager
async def exclusive(engine: Engine, name: str) -> AsyncGenerator[bool]:
    """Inside, True for one of all processes at most, over a connection that is held so long; False for the others.

    A connection that is lost, or from which the server hears nothing for SILENT_S, frees the lock, and nobody is told:
    what is done inside must bear being done by two. Raises StorageFailure.
    """
    held = _Held(engine, TRY, key_of("exclusive", name))
    if not await _taken(held):
        yield False
        return
    async with _kept(_keep_alive(held), held):
        yield True


@asynccontextmanager
async def hold(engine: Engine, *, alone: bool, wait_s: float = 0.0) -> AsyncGenerator[None]:
    """Inside, a server that holds the database alone is the only one that does, and any number of others hold it
    together, never beside it.

    wait_s: how long an earlier server, which is about to end, may still hold it. A lock that is lost with its
    connection is taken again; one that another server has got meanwhile is an error in the log: its attempts and
    those of this one are told apart, and no job is lost.
    Raises DataDirectoryInUse; StorageFailure.
    """
    statement, key = (TRY if alone else TRY_SHARED), key_of(*WHOLE)
    held = _Held(engine, statement, key)
    until = asyncio.get_running_loop().time() + wait_s
    while not await _taken(held):
        if asyncio.get_running_loop().time() >= until:
            raise DataDirectoryInUse("The database is in use by another server.")
        await asyncio.sleep(_PAUSE_S)
    async with _kept(_keep(held), held):
        yield


@asynccontextmanager
async def _kept(keeping: Coroutine[None, None, None], held: "_Held") -> AsyncGenerator[None]:
    try:
        async with running(keeping, name="database-lock"):
            yield
    finally:
        await asyncio.shield(asyncio.to_thread(held.leave))


class _Held:
    """A lock, and the connection that it hangs on. Calls block, and come one after the other."""

    def __init__(self, engine: Engine, statement: Select[Any], key: int) -> None:  # Any: of one truth value
        self._engine = engine
        self._statement = statement
        self._key = key
        self._connection: Connection | None = None

    def take(self) -> bool:
        """False if others do not let us. Raises StorageFailure."""
        self._connection = _enter(self._engine, self._statement, self._key)
        return self._connection is not None

    def is_lost(self) -> bool:
        """Whether the connection is gone."""
        if self._connection is None:
            return True
        try:
            self._connection.exec_driver_sql("SELECT 1")
        except SQLAlchemyError as exc:
            log.warning("store_lock_was_lost", **described(exc))
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
        return self._connection is None

    def leave(self) -> None:
        """Twice is fine."""
        if self._connection is not None:
            _leave(self._connection)
            self._connection = None


async def _keep_alive(held: _Held) -> None:
    """As long as it is held."""
    while True:
        await asyncio.sleep(LOOK_AGAIN_S)
        if await _uncut(held.is_lost):
            return


async def _keep(held: _Held) -> None:
    while True:
        await asyncio.sleep(LOOK_AGAIN_S)
        with outliving("store_lock_not_kept"), suppress(StorageFailure):  # logged; the database is away
            if await _uncut(held.is_lost):
                if await _uncut(held.take):
                    log.info("store_lock_taken_again")
                else:
                    log.error("store_taken_over", hint="another server works on the database; stop one of them")


async def _taken(held: _Held) -> bool:
    """Cancelled, it leaves no lock behind, and no connection."""
    try:
        return await _uncut(held.take)
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.to_thread(held.leave))
        raise


async def _uncut(call: Callable[[], bool]) -> bool:
    """Waits for the call's end even if it is cancelled, and again: nobody else may use the connection before."""
    task = asyncio.ensure_future(asyncio.to_thread(call))
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        task.exception()  # nobody asks any more
        raise asyncio.CancelledError
    return task.result()


def _enter(engine: Engine, statement: Select[Any], key: int) -> Connection | None:  # Any: of one truth value
    """None, and no connection is held, if somebody else is in."""
    try:
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            if connection.execute(statement, {"key": key}).scalar_one():
                connection.exec_driver_sql(f"SET idle_session_timeout = {round(SILENT_S * 1000)}")
                return connection
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        connection.close()
        return None
    except SQLAlchemyError as exc:
        log.error("store_lock_failed", **described(exc))
        raise (StorageAway if is_passing(exc) else StorageFailure) from exc


def _leave(connection: Connection) -> None:
    """Closes the connection, too: the pool that it is from may be gone by now, and nobody would."""
    try:
        connection.execute(LEAVE)
    except SQLAlchemyError as exc:
        log.warning("store_lock_was_lost", **described(exc))
    finally:
        connection.invalidate()
        connection.close()
