"""WebSocket frames that are made once, for many connections, and given to each without a task and without a wait.

An ASGI extension of this house: where a server has it, `scope["extensions"]["danqing.frames"]` of a connection is
`{"write": FrameWriter}`. `wire_guard.GuardedWebSocket` has it; elsewhere one sends as ASGI says.
"""

from collections.abc import Callable
from typing import cast

from starlette.types import Scope
from websockets.frames import Frame, Opcode

EXTENSION = "danqing.frames"

FrameWriter = Callable[[bytes], bool]
"""Hands a whole, unmasked frame to the connection after all that was sent so far; for the event loop's thread only.

False: it took nothing, because its client has not read enough, it is not open, or it has an extension of its own to
apply to each message. Then `send` does what there is to do: it waits, raises, or sends.
"""


def text_frame(text: str) -> bytes:
    """The one frame of a text, as a server sends it."""
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)


def frame_writer(scope: Scope) -> FrameWriter | None:
    """None where the server does not have the extension."""
    extension = scope.get("extensions", {}).get(EXTENSION)
    return None if extension is None else cast(FrameWriter, extension["write"])
