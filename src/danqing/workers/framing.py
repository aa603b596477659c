"""Messages over a stream of bytes between the server and its own worker processes: how long each is, then it, pickled.

As `multiprocessing` writes it, up to 2 GiB; but for ends that are read where the bytes come, and must not wait for the
rest.
"""

import pickle
import struct
from collections.abc import Iterator
from typing import Any

_HEAD = struct.Struct("!I")
MOST_BYTES = 256 * 1024 * 1024  # of a message; what claims to be longer is none


def framed(message: object) -> bytes:
    """As it goes over the stream."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _HEAD.pack(len(body)) + body


class Frames:
    """Puts together what comes in pieces."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:  # Any: what the other end sends
        """The messages that are whole with this, to be taken at once. Raises whatever unpickling does, or ValueError,
        for what is none; the stream is of no use then.
        """
        self._rest += data
        at = 0
        while len(self._rest) - at >= _HEAD.size:
            (length,) = _HEAD.unpack_from(self._rest, at)
            if length > MOST_BYTES:
                raise ValueError("not a message")
            end = at + _HEAD.size + length
            if len(self._rest) < end:
                break
            with memoryview(self._rest) as rest, rest[at + _HEAD.size : end] as body:
                message = pickle.loads(body)
            yield message
            at = end
        del self._rest[:at]
