"""What `danqing doctor` is told of the parts that several processes share. Looks, waits for seconds at most, changes
nothing; no password is in what it returns or raises.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import SQLAlchemyError

from danqing.core.extras import how_to_install
from danqing.core.shared_store import Node
from danqing.store.migration import SchemaState, schema_state
from danqing.store.node_rows import node_from
from danqing.store.nodes import ALIVE
from danqing.store.postgres_address import postgres_address
from danqing.store.postgres_connections import Patience, make_engine
from danqing.wiring.part_failures import reason_of, says_no

if TYPE_CHECKING:
    from redis import Redis

T = TypeVar("T")

WAIT_S = 4
INSTALL = how_to_install("scaled")


class PartAway(Exception):
    """A part cannot be used. Its text says where it should be, and what is the matter. says_no: it answers, and refuses
    what the settings say, so that waiting for it helps nothing.
    """

    def __init__(self, message: str, *, says_no: bool = False) -> None:
        super().__init__(message)
        self.says_no = says_no


@dataclass(frozen=True, kw_only=True)
class DatabaseState:
    """place: host and database. number: of the version, such as 150019. clock_ahead_s: of this machine's clock. used,
    most: connections. nodes, waiting (by model): as the tables say, if there are any.
    """

    place: str
    version: str
    number: int
    encoding: str
    read_only: bool
    schema: SchemaState
    clock_ahead_s: float
    used: int
    most: int
    nodes: Sequence[Node] = ()
    waiting: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, kw_only=True)
class RedisState:
    """limit_bytes: of its memory; 0 for none. policy: what it does when that is full."""

    place: str
    version: str
    used_bytes: int
    limit_bytes: int
    policy: str


def database_state(url: SecretStr) -> DatabaseState:
    """Raises PartAway."""
    try:
        address = postgres_address(url.get_secret_value())
    except ValueError as exc:
        raise PartAway("DATABASE_URL is no address of a PostgreSQL: write it like postgresql://user@host/db") from exc
    place = _place(address.host or "its socket", address.port or 5432, address.database or "")
    return _asked(place, lambda: _database_state(address, place))


def redis_state(url: SecretStr) -> RedisState:
    """Raises PartAway."""
    return _asked(_place_of(url, 6379), lambda: _redis_state(url))


def check_link(url: SecretStr) -> None:
    """Whether a Redis, or another broker, can be connected to. Raises PartAway."""
    if urlsplit(url.get_secret_value()).scheme in ("redis", "rediss"):
        _asked(_place_of(url, 6379), lambda: _ping(url))
    else:
        broker_version(url)


def broker_version(url: SecretStr) -> str:
    """Of a broker that is no Redis; connects as Celery does. Raises PartAway."""
    return _asked(_place_of(url, 5672), lambda: _broker_version(url))


def _database_state(address: URL, place: str) -> DatabaseState:
    engine = make_engine(address, connections=0, patience=Patience(connect_s=WAIT_S, statement_s=WAIT_S, lock_s=WAIT_S))
    with engine.connect() as connection:
        connection.execution_options(postgresql_readonly=True)
        schema = schema_state(connection)
        clock_ahead_s = _clock_ahead_s(connection)
        tables = schema in (SchemaState.CURRENT, SchemaState.NEWER)
        nodes = [node_from(row) for row in connection.execute(ALIVE).mappings()] if tables else ()
        waits = text("SELECT model, count(*) FROM jobs WHERE state = 'pending' GROUP BY model ORDER BY model")
        return DatabaseState(
            place=place,
            version=_shown(connection, "server_version"),
            number=int(_shown(connection, "server_version_num")),
            encoding=_shown(connection, "server_encoding"),
            read_only=_shown(connection, "default_transaction_read_only") == "on"
            or bool(connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one()),
            schema=schema,
            clock_ahead_s=clock_ahead_s,
            used=connection.execute(text("SELECT count(*) FROM pg_stat_activity")).scalar_one(),
            most=int(_shown(connection, "max_connections")),
            nodes=nodes,
            waiting={model: number for model, number in connection.execute(waits)} if tables else {},
        )


def _shown(connection: Connection, parameter: str) -> str:
    return str(connection.exec_driver_sql(f"SHOW {parameter}").scalar_one())


def _clock_ahead_s(connection: Connection) -> float:
    """As far as the time of the question leaves it open, none."""
    before = time.time()
    theirs = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    after = time.time()
    return before - theirs if theirs < before else after - theirs if theirs > after else 0.0


def _ping(url: SecretStr) -> None:
    with _redis(url) as client:
        client.ping()  # pyright: ignore[reportUnknownMemberType]


def _redis(url: SecretStr) -> "Redis":
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    make = cast("Callable[..., Redis]", Redis.from_url)  # pyright: ignore[reportUnknownMemberType]
    patience = {"socket_connect_timeout": WAIT_S, "socket_timeout": WAIT_S, "retry": Retry(NoBackoff(), 0)}
    return make(url.get_secret_value(), **patience)


def _redis_state(url: SecretStr) -> RedisState:
    with _redis(url) as client:
        told = cast("Mapping[str, object]", client.info())  # pyright: ignore[reportUnknownMemberType]
    return RedisState(
        place=_place_of(url, 6379),
        version=str(told["redis_version"]),
        used_bytes=int(str(told["used_memory"])),
        limit_bytes=int(str(told.get("maxmemory", 0))),
        policy=str(told.get("maxmemory_policy", "")),
    )


def _broker_version(url: SecretStr) -> str:
    from kombu import Connection as BrokerConnection

    with BrokerConnection(url.get_secret_value(), connect_timeout=WAIT_S) as connection:
        connection.connect()
        told = cast("Mapping[str, str]", getattr(connection.connection, "server_properties", {}))
        return f"{told.get('product', 'connected')} {told.get('version', '')}".strip() + f" on {_place_of(url, 5672)}"


def _asked(place: str, ask: Callable[[], T]) -> T:
    """What is asked for, or PartAway that says where and why."""
    failures = _failures()
    try:
        return ask()
    except ImportError as exc:
        raise PartAway(f"a package is not installed: {INSTALL}", says_no=True) from exc
    except failures as exc:
        raise PartAway(f"{place}: {reason_of(exc)}", says_no=says_no(exc)) from exc


def _failures() -> tuple[type[Exception], ...]:
    """The errors of the libraries that are installed."""
    found: list[type[Exception]] = [OSError, ValueError, KeyError, SQLAlchemyError]
    try:
        from amqp.exceptions import AMQPError
        from kombu.exceptions import KombuError
        from redis.exceptions import RedisError
    except ImportError:
        return tuple(found)
    return (*found, AMQPError, KombuError, RedisError)


def _place_of(url: SecretStr, usual_port: int) -> str:
    try:
        parts = urlsplit(url.get_secret_value())
        return _place(parts.hostname or "localhost", parts.port or usual_port, parts.path.strip("/"))
    except ValueError:
        return "an address that cannot be read"


def _place(host: str, port: int, name: str) -> str:
    return f"{host}:{port}/{name}" if name else f"{host}:{port}"
