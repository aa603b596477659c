"""Ports for servers that bind them later, or again: not those that the system gives to whoever asks for any.

What is bound to port 0 comes from the range that the system hands out, so a port from there that was free a moment ago
may be another test's by the time that its server has started. These lie below it, and each process of the tests has
some of its own.
"""

import itertools
import os
import socket
from collections.abc import Iterator

_FIRST, _OF_EACH = 20_000, 1_500
_PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8


def _numbers() -> Iterator[int]:
    """Round and round, from another place in each run."""
    for number in itertools.count(os.getpid()):
        yield _FIRST + _PROCESS * _OF_EACH + number % _OF_EACH


_next = _numbers()


def free_port() -> int:
    """A TCP port of the loopback interface that nobody has just now, and nobody here is given soon."""
    while True:
        port = next(_next)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def free_ports(count: int) -> list[int]:
    """So many, all different."""
    return [free_port() for _ in range(count)]
