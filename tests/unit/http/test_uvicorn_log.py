"""What uvicorn may say, and what not."""

import asyncio
import logging

import pytest
from starlette.types import Receive, Scope, Send
from websockets import InvalidStatus, connect

from danqing.http.server import Stop
from tests.unit.http.serving import serving


async def test_an_app_that_forgets_a_handshake_is_still_told(caplog: pytest.LogCaptureFixture) -> None:
    async def forgetful(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0)

    stop = Stop()
    async with serving(forgetful, stop=stop) as ((listener,), _):
        with pytest.raises(InvalidStatus):
            await connect(listener.url.replace("http", "ws", 1))
        stop.request()

    told = [record for record in caplog.records if record.name == "uvicorn.error"]
    assert [record.levelno for record in told] == [logging.ERROR]
    assert "without completing handshake" in told[0].message
