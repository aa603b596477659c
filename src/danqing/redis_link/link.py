"""Commands to a Redis: answered soon, or refused. `redis` is imported only where a link is made: few need it."""

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

log = structlog.get_logger(__name__)

CONNECTIONS = 32
Command = tuple[str | bytes | int | float, ...]


class RedisAway(Exception):
    """Redis did not answer in time, or refused. Has no address in its text."""


class NotARedisUrl(ValueError):
    """Neither redis:// nor rediss:// nor unix://. Does not repeat the URL, which may have a password."""


class RedisLink:
    """For one event loop. url: redis://, rediss:// or unix://, with user, password and database as there are."""

    def __init__(self, url: str, *, timeout_s: float = 2.0, rest_s: float = 0.5) -> None:
        """timeout_s: for what is asked at once. rest_s: how long nobody tries again after Redis did not answer.

        Connects when it is first asked. Raises NotARedisUrl, or ImportError where `redis` is not installed.
        """
        from redis.asyncio import BlockingConnectionPool
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        try:
            self._pool: BlockingConnectionPool = BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
                url,
                max_connections=CONNECTIONS,
                timeout=timeout_s,
                socket_timeout=None,  # `ask` has one for everything; redis' own may swallow that a task is cancelled
                socket_connect_timeout=timeout_s,
                socket_keepalive=True,
                # What failed may have been done all the same: only who asked knows whether it may be repeated.
                retry=Retry(NoBackoff(), 0),
                protocol=2,
                driver_info=None,
            )
            self._pool.make_connection()  # the pool itself does not look at what the URL asks for
        except (ValueError, TypeError):  # whose text may have a part of the password
            raise NotARedisUrl("not a URL of Redis: redis://, rediss:// or unix://") from None
        self._timeout_s = timeout_s
        self._rest_s = rest_s
        self._tried_again_at = 0.0
        self._is_away = False
        self._refuses = False

    @property
    def is_resting(self) -> bool:
        """Redis did not answer just now, and is not asked for a moment: `ask` would raise at once."""
        return asyncio.get_running_loop().time() < self._tried_again_at

    async def ask(self, *commands: Command) -> list[Any]:  # Any: Redis' replies
        """The replies to these commands, sent together; others' may be done in between. Raises RedisAway."""
        from redis.exceptions import RedisError

        if self.is_resting:
            raise RedisAway
        try:
            async with asyncio.timeout(self._timeout_s):
                replies = await self._replies(commands)
        except (RedisError, OSError, TimeoutError) as exc:
            self._tried_again_at = asyncio.get_running_loop().time() + self._rest_s
            if not self._is_away:
                self._is_away = True
                log.warning("redis_away", reason=type(exc).__name__)
            raise RedisAway from exc
        if self._is_away:
            self._is_away = False
            log.info("redis_back")
        refused = next((reply for reply in replies if isinstance(reply, RedisError)), None)
        if refused is not None and not self._refuses:  # said once: it may be so for a while, when its memory is full
            log.error("redis_refused", reason=type(refused).__name__)
        self._refuses = refused is not None
        if refused is not None:
            raise RedisAway from refused
        return replies

    async def _replies(self, commands: tuple[Command, ...]) -> list[Any]:
        from redis.exceptions import ResponseError

        connection = await self._pool.get_connection()  # pyright: ignore[reportUnknownMemberType]
        try:
            await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            replies: list[Any] = []
            for _ in commands:
                try:
                    replies.append(await connection.read_response())
                except ResponseError as exc:  # to this command; the replies to the others come all the same
                    replies.append(exc)
            return replies
        except BaseException:
            await connection.disconnect(nowait=True)  # replies to what was given up would be taken for later ones
            raise
        finally:
            await self._pool.release(connection)

    def connection(self) -> "AbstractConnection":
        """One of its own, for whoever listens; not connected yet."""
        return self._pool.make_connection()

    async def aclose(self) -> None:
        """Ends every connection that is not just used. Closing twice is fine."""
        await self._pool.disconnect()
