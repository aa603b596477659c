"""The head of an answer and the first of its body in one write: each alone takes a call of the system on both sides."""

import asyncio


class OnePiece(asyncio.Transport):
    """What an answer is written to, in front of its connection's transport; for one answer.

    Its first write waits for the second one, but no longer than until the event loop comes round. The first is the
    head, or leave to send a body, to a client that asks for it.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._held: bytes | None = None
        self._held_one = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See `asyncio.Transport`; so for all below but `flush` and `forget`."""
        if self._held is not None:
            held, self._held = self._held, None
            self._transport.writelines((held, data))
        elif self._held_one:
            self._transport.write(data)
        else:
            self._held, self._held_one = bytes(data), True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Nothing waits any longer. To be called before anything is written past this."""
        if self._held is not None:
            held, self._held = self._held, None
            self._transport.write(held)

    def forget(self) -> None:
        """The connection is lost, and what waits with it: to write to it now would be an error."""
        self._held = None

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self.flush()
        self._transport.close()
