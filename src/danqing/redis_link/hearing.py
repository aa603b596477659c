"""One connection that listens to many channels of a Redis, and comes back after every interruption."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import structlog

from danqing.redis_link.link import RedisLink

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

log = structlog.get_logger(__name__)

CHANNELS_AT_ONCE = 500
CONNECT_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0


class Hearing:
    """For one event loop. What is said between two connections is not heard."""

    def __init__(
        self,
        link: RedisLink,
        *,
        heard: Callable[[str, bytes], None],
        changed: Callable[[], None] = lambda: None,
        quiet_s: float = 5.0,
    ) -> None:
        """heard: is given channel and message, and must not raise. changed: called whenever all channels are listened
        to again, the first time too, and when that is over. quiet_s: after so long without a word Redis is asked for
        one, and taken for dead if none comes within as long again.
        """
        self._link = link
        self._heard = heard
        self._changed = changed
        self._quiet_s = quiet_s
        self._channels: set[str] = set()
        self._sent: deque[tuple[str, asyncio.Future[None]]] = deque()  # what Redis has yet to confirm, in its order
        self._confirmed: dict[str, asyncio.Future[None]] = {}  # by channel that is listened to, or is about to be
        self._unsent: list[tuple[str, ...]] = []
        self._something_unsent = asyncio.Event()
        self._is_connected = False
        self._is_away = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_connected(self) -> bool:
        """There is a connection, on which all channels are asked for."""
        return self._is_connected

    async def start(self, *, wait_s: float) -> None:
        """Listens from now on. Returns when it is connected, or cannot be just now, at the latest after wait_s."""
        tried = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(tried), name="hearing")
        await asyncio.wait([tried], timeout=wait_s)

    async def stop(self) -> None:
        """Stopping twice is fine."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def listen(self, channel: str, *, wait_s: float) -> bool:
        """Listens to the channel from now on. False if Redis has not confirmed that within wait_s, or is away: then it
        is listened to as soon as that can be.
        """
        if channel not in self._channels:
            self._channels.add(channel)
            self._ask("SUBSCRIBE", [channel])
        if (confirmed := self._confirmed.get(channel)) is None:
            return False
        done, _ = await asyncio.wait([confirmed], timeout=wait_s)
        return bool(done) and not confirmed.cancelled()

    def leave(self, channel: str) -> None:
        """Does not listen to the channel any more; one that was not listened to is fine."""
        if channel in self._channels:
            self._channels.discard(channel)
            self._ask("UNSUBSCRIBE", [channel])

    def _ask(self, verb: str, channels: Iterable[str]) -> None:
        """Nothing while there is no connection: the next one begins with all channels."""
        if not self._is_connected:
            return
        loop = asyncio.get_running_loop()
        for channel in channels:
            confirmed = loop.create_future()
            self._sent.append((channel, confirmed))
            if verb == "SUBSCRIBE":
                self._confirmed[channel] = confirmed
            else:
                self._confirmed.pop(channel, None)
            self._unsent.append((verb, channel))
        self._something_unsent.set()

    async def _run(self, tried: asyncio.Future[None]) -> None:
        from redis.exceptions import RedisError

        pause_s = FIRST_PAUSE_S
        while True:
            connection = self._link.connection()
            try:
                async with asyncio.timeout(CONNECT_S):
                    await connection.connect()
                self._is_connected = True
                if self._is_away:
                    log.info("hearing_again")
                self._is_away = False
                if not tried.done():
                    tried.set_result(None)
                self._ask("SUBSCRIBE", sorted(self._channels))
                pause_s = FIRST_PAUSE_S
                await self._converse(connection)
            except Exception as exc:  # nobody else would hear anything
                if not isinstance(exc, RedisError | OSError | TimeoutError):
                    log.exception("hearing_failed")
                elif not self._is_away:
                    log.warning("hearing_interrupted", reason=type(exc).__name__)
                self._is_away = True
                if not tried.done():
                    tried.set_result(None)
            finally:
                self._part()
                with suppress(RedisError, OSError, TimeoutError):
                    await connection.disconnect(nowait=True)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _converse(self, connection: "AbstractConnection") -> None:
        """Until the connection is gone, which is raised."""
        writing = asyncio.create_task(self._write(connection), name="hearing-writes")
        reading = asyncio.create_task(self._read(connection), name="hearing-reads")
        confirmed = [future for _, future in self._sent]
        joining = asyncio.create_task(self._tell_when_joined(confirmed), name="hearing-joins")
        tasks = (writing, reading, joining)
        try:
            await asyncio.wait((writing, reading), return_when=asyncio.FIRST_COMPLETED)
            for task in (writing, reading):
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell_when_joined(self, confirmed: list[asyncio.Future[None]]) -> None:
        if confirmed:
            await asyncio.wait(confirmed)
        self._changed()

    async def _write(self, connection: "AbstractConnection") -> None:
        while True:
            await self._something_unsent.wait()
            self._something_unsent.clear()
            commands, self._unsent = self._unsent, []
            for start in range(0, len(commands), CHANNELS_AT_ONCE):
                if not connection.is_connected:
                    raise ConnectionError  # else it would connect again, and nobody would know what was missed
                packed = connection.pack_commands(commands[start : start + CHANNELS_AT_ONCE])
                await connection.send_packed_command(packed, check_health=False)

    async def _read(self, connection: "AbstractConnection") -> None:
        asked = False
        while True:
            if not connection.is_connected:
                raise ConnectionError
            said = cast("object", await connection.read_response(disable_decoding=True, timeout=self._quiet_s))
            if said is not None:
                asked = False
                self._take(said)
            elif asked:
                raise TimeoutError
            else:
                asked = True
                self._unsent.append(("PING",))
                self._something_unsent.set()

    def _take(self, said: object) -> None:
        match said:
            case [b"message", bytes(channel), bytes(message)]:
                self._heard(channel.decode(errors="replace"), message)
            case [b"subscribe" | b"unsubscribe", bytes(), int()]:
                _, confirmed = self._sent.popleft()
                if not confirmed.done():
                    confirmed.set_result(None)
            case _:  # the answer to a PING
                pass

    def _part(self) -> None:
        was_connected, self._is_connected = self._is_connected, False
        for _, confirmed in self._sent:
            confirmed.cancel()
        self._sent.clear()
        self._confirmed.clear()
        self._unsent.clear()
        if was_connected:
            self._changed()
