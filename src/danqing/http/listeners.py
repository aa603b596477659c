"""Opens the sockets that the server listens on, before anything else is started."""

import errno
import socket
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

_BACKLOG = 2048


class CannotListen(Exception):
    """A port cannot be opened. The message is one line for the person who chose it."""


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Where to listen. port: 0 takes a free one. dialect: the only one spoken there; None: the shared port."""

    host: str
    port: int
    dialect: str | None = None


@dataclass(frozen=True, kw_only=True)
class OpenListener:
    """A listener with its socket, which already takes connections; they wait until they are served.

    port: the one in use, also where the listener left it open.
    """

    listener: Listener
    socket: socket.socket
    port: int

    @property
    def url(self) -> str:
        """Address for a client on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.listener.host, self.listener.host)
        return f"http://{_with_port(host, self.port)}"

    @property
    def bound(self) -> str:
        """Address and port that the socket has, which tell who can reach it: `0.0.0.0:8000`."""
        return _with_port(str(self.socket.getsockname()[0]), self.port)


@contextmanager
def open_listeners(listeners: Sequence[Listener]) -> Generator[tuple[OpenListener, ...]]:
    """Opens all of them or none; closed on leaving. Raises CannotListen."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(_open(listener)) for listener in listeners]
        yield tuple(
            OpenListener(listener=listener, socket=opened, port=opened.getsockname()[1])
            for listener, opened in zip(listeners, sockets, strict=True)
        )


def _open(listener: Listener) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.socket(family, kind, protocol)
    except OSError as exc:
        raise CannotListen(f"{listener.host} is not an address of this machine.") from exc
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(_BACKLOG)
        opened.setblocking(False)
    except OSError as exc:
        opened.close()
        raise CannotListen(_explain(listener, exc)) from exc
    return opened


def _with_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _explain(listener: Listener, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"Port {listener.port} on {listener.host} is already in use; choose another one."
        case errno.EACCES:
            return f"Port {listener.port} on {listener.host} may not be opened by this user; choose one above 1023."
        case errno.EADDRNOTAVAIL:
            return f"{listener.host} is not an address of this machine."
        case _:
            return f"Port {listener.port} on {listener.host} cannot be opened (error {error.errno})."
