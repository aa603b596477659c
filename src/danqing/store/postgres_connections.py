"""How connections to PostgreSQL are opened, how long anything may take, and what its errors mean."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, Engine, NullPool, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

# States in which a server is about to go, or not there yet: as good as a lost connection.
_COMING_OR_GOING = frozenset({"57P01", "57P02", "57P03", "53300", "08000", "08001", "08003", "08004", "08006"})
_READ_ONLY = "25006"
SESSION = (
    "SELECT set_config('TimeZone', 'UTC', false), set_config('statement_timeout', %s, false),"
    " set_config('lock_timeout', %s, false), set_config('idle_in_transaction_session_timeout', %s, false),"
    # So that the server, too, soon sees that a machine is gone: what it held is free then.
    " set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false),"
    " set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '20000', false)"
)
# That a process may hold at a time (`advisory_locks.py`), each over a connection of its own: on the database, the
# janitor's, that of reconciling, that of indexing the history, and one of the sweeper's two.
LOCKS_AT_ONCE = 5


@dataclass(frozen=True, kw_only=True)
class Patience:
    """All in seconds but tries. connect_s: for one connection to be opened (whole seconds, 2 at least). statement_s,
    lock_s: for one statement, and for locks in it. queue_s: how long a call waits for a thread. reconnect_s: how long
    a call whose connection was lost is tried again. doubt_s: how long it is asked what became of a lost commit. tries:
    at a call that meets deadlocks. idle_s: how long a transaction may say nothing; less than lock_s, so that who waits
    for what a frozen process holds gets it. call_s: how long a caller waits in all, also for a server that says nothing
    at all (frozen, say), when its own limits are of no use.
    """

    connect_s: int = 3
    statement_s: float = 60.0
    lock_s: float = 10.0
    queue_s: float = 10.0
    reconnect_s: float = 3.0
    doubt_s: float = 10.0
    idle_s: float = 8.0
    call_s: float = 25.0
    first_pause_s: float = 0.02
    longest_pause_s: float = 0.25
    tries: int = 6


def make_engine(url: URL, *, connections: int, patience: Patience) -> Engine:
    """An engine on psycopg, with a pool that keeps so many connections and opens each when it is needed.

    connections: 0 for no pool. What the URL says of the connection goes before what is said here.
    Raises ImportError where psycopg is not installed.
    """
    usual: dict[str, str | int] = {
        "connect_timeout": patience.connect_s,
        "application_name": "danqing",
        "client_encoding": "utf8",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,  # ms
    }
    options: dict[str, Any] = {"poolclass": NullPool}  # Any: the pool's own
    if connections:
        options = {"poolclass": QueuePool, "pool_size": connections, "pool_use_lifo": True}
        options |= {"max_overflow": LOCKS_AT_ONCE, "pool_timeout": patience.lock_s}
    engine = create_engine(
        url,
        connect_args={name: value for name, value in usual.items() if name not in url.query},
        hide_parameters=True,  # error texts are logged, and prompts are among the parameters
        **options,
    )

    def begin_session(connection: Any, _: object) -> None:  # noqa: ANN401 - psycopg is imported only where it is used
        limits = (patience.statement_s, patience.lock_s, patience.idle_s)
        connection.autocommit = True
        connection.execute(SESSION, [str(round(limit_s * 1000)) for limit_s in limits])
        connection.autocommit = False

    event.listen(engine, "connect", begin_session)
    return engine


def sqlstate_of(failure: BaseException | None) -> str | None:
    """PostgreSQL's five signs for what happened; None where it did not say."""
    if not isinstance(failure, DBAPIError):
        return None
    return getattr(failure.orig, "sqlstate", None)


def is_disconnect(failure: BaseException) -> bool:
    """Whether there was no connection, or is none any more, or will soon be none."""
    if isinstance(failure, PoolTimeout):
        return False
    if not isinstance(failure, DBAPIError):
        return False
    state = sqlstate_of(failure)
    was_never_there = failure.statement is None and state is None and type(failure).__name__ == "OperationalError"
    return failure.connection_invalidated or was_never_there or state in _COMING_OR_GOING


def is_passing(failure: BaseException) -> bool:
    """Whether the server, as it is just now, is what is wrong, and not what was asked of it: it is away, too busy or
    full, or has become another one's standby.
    """
    if isinstance(failure, PoolTimeout):
        return True
    if not isinstance(failure, DBAPIError):
        return False
    return isinstance(failure, OperationalError) or is_disconnect(failure) or sqlstate_of(failure) == _READ_ONLY


def described(failure: Exception) -> dict[str, str]:
    """For the log: nothing of what was asked or stored, which the server's own detail may repeat."""
    fields = {"error": type(failure).__name__}
    if isinstance(failure, DBAPIError):
        fields["error"] = type(failure.orig).__name__
        diagnosis = getattr(failure.orig, "diag", None)
        primary = getattr(diagnosis, "message_primary", None) or (
            str(failure.orig) if failure.statement is None else ""
        )
        if primary:
            fields["reason"] = " ".join(primary.split())[:300]
        if state := sqlstate_of(failure):
            fields["sqlstate"] = state
    elif isinstance(failure, SQLAlchemyError):
        fields["reason"] = str(failure)[:300]
    return fields
