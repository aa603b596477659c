"""One WebSocket from its acceptance to its end: one task reads, one writes, and either may find that it is over."""

import asyncio
import itertools
import time
from collections import deque
from contextlib import suppress
from typing import NoReturn

from starlette.websockets import WebSocket, WebSocketDisconnect

from danqing.core.callers import Caller
from danqing.core.errors import DanqingError
from danqing.dialects.live.clients import Client, Clients
from danqing.dialects.live.connection import INTERNAL_ERROR, POLICY_VIOLATION, Connection
from danqing.dialects.live.conversation import Conversation
from danqing.dialects.live.elsewhere import Elsewhere
from danqing.dialects.live.errors import error_message
from danqing.dialects.live.feeds import Feeds
from danqing.dialects.live.letters import Letter, Step
from danqing.dialects.live.outbox import Outbox, OutboxLimits
from danqing.http.dialect import Services
from danqing.http.frames import frame_writer

SEND_TIMEOUT_S = 60.0  # a client that takes nothing for so long is gone
CLOSE_TIMEOUT_S = 2.0
# What was sent this long before a connection broke may not have arrived: pings find a dead peer within it.
UNCERTAIN_S = 60.0
TRY_AGAIN_LATER = 1013
ABNORMAL_CLOSURE = 1006
_AT_ONCE = 100  # messages of a client, before others have a turn
_GOODBYES = (1000, 1001, 1005)  # close codes of a client that meant to go; 1005: it said none, as `ws.close()` does


class Session:
    """One connection of one client."""

    def __init__(
        self,
        websocket: WebSocket,
        *,
        services: Services,
        clients: Clients,
        feeds: Feeds,
        elsewhere: Elsewhere,
        caller: Caller,
        client: Client | None,
        limits: OutboxLimits,
    ) -> None:
        self._websocket = websocket
        self._standing = services.standing
        self._caller = caller
        self._clients = clients
        self._client = client
        self._write_frame = frame_writer(websocket.scope)
        self._outbox = Outbox(limits, send_now=self._send_now)
        self._connection = Connection(
            studio=services.studio, feeds=feeds, caller=caller, outbox=self._outbox, sign=services.links.sign
        )
        self._conversation = Conversation(
            services=services,
            clients=clients,
            elsewhere=elsewhere,
            caller=caller,
            client=client,
            connection=self._connection,
        )
        self._visit = 0
        self._finals: deque[tuple[float, str]] = deque()  # when the end of which job was sent, lately

    async def run(self) -> None:
        """Returns when the connection is over."""
        if self._client is not None:
            self._visit = self._clients.enter(self._client, self._connection)
        code = None
        try:
            with self._standing.watched(self._caller, self._lost):
                code = await self._until_over()
        finally:
            await self._connection.close()
            if self._client is not None:
                self._clients.leave(self._client, self._connection)
                if code not in _GOODBYES:
                    self._clients.doubt(self._client, self._visit, [job_id for _, job_id in self._recent_finals()])

    async def _until_over(self) -> int:
        """The close code, the client's or ours."""
        if self._connection.ended.done():  # he was let in no more as soon as he was in
            await self._close(self._connection.ended.result())
            return self._connection.ended.result()
        works = (self._read(), self._write(), self._recall(), self._overflow(), self._useless())
        tasks = [asyncio.create_task(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        try:
            next(task for task in tasks if task in done).result()
        except WebSocketDisconnect as exc:
            return exc.code
        except _Over as exc:
            await self._close(exc.code)
            return exc.code
        except Exception:
            await self._close(INTERNAL_ERROR)
            raise
        raise AssertionError("each of them ends with an exception")

    async def _read(self) -> NoReturn:
        await self._resume()
        for number in itertools.count(1):
            if not number % _AT_ONCE:  # what is answered at once never waits by itself
                await asyncio.sleep(0)
            await self._outbox.eased()
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message["code"])
            text = message.get("text")
            if text is None:
                self._conversation.refuse_binary()
            else:
                await self._conversation.answer(text)
        raise AssertionError("there is no last number")

    async def _write(self) -> NoReturn:
        while True:
            item = await self._outbox.take()
            try:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await self._websocket.send_text(item.text)
            except TimeoutError:
                raise _Over(TRY_AGAIN_LATER) from None
            except RuntimeError:  # the protocol has closed the connection already: a ping was not answered, for example
                raise WebSocketDisconnect(ABNORMAL_CLOSURE) from None
            if isinstance(item, Letter):
                self._note(item)

    def _send_now(self, item: Letter | Step) -> bool:
        """Whether the client takes it at once; no task need run for that."""
        if self._write_frame is None or not self._write_frame(item.frame):
            return False
        if isinstance(item, Letter):
            self._note(item)
        return True

    def _note(self, sent: Letter) -> None:
        if sent.final_of is not None and self._client is not None:
            self._clients.delivered(self._client, self._visit, sent.final_of)
            self._finals.append((time.monotonic(), sent.final_of))
            self._recent_finals()

    async def _recall(self) -> NoReturn:
        while True:
            await self._connection.recalled.wait()
            self._connection.recalled.clear()
            await self._resume()

    async def _resume(self) -> None:
        try:
            await self._conversation.resume()
        except DanqingError as exc:
            self._connection.say(error_message(exc, None))

    async def _overflow(self) -> NoReturn:
        await self._outbox.overflowed.wait()
        raise _Over(TRY_AGAIN_LATER)

    def _lost(self) -> None:
        """The client's key counts no more."""
        self._connection.end(POLICY_VIOLATION)

    async def _useless(self) -> NoReturn:
        code = await self._connection.ended
        if code != POLICY_VIOLATION:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._outbox.idle()  # what is known already goes out first
        raise _Over(code)

    def _recent_finals(self) -> deque[tuple[float, str]]:
        while self._finals and self._finals[0][0] < time.monotonic() - UNCERTAIN_S:
            self._finals.popleft()
        return self._finals

    async def _close(self, code: int) -> None:
        """A client that reads nothing cannot be told either; then the server drops the connection."""
        with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._websocket.close(code)


class _Over(Exception):
    """The connection is to be closed. code: the close code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code
