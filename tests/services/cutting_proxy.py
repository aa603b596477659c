"""A network between a client and a server that is cut just when it hurts."""

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from enum import Enum


class Cut(Enum):
    """What becomes of the next piece that the client sends with the dreaded words in it."""

    NEVER = "never"
    BEFORE = "before"  # the server does not get it
    AFTER = "after"  # the server gets it, and the client no answer


class CuttingProxy:
    """Forwards to 127.0.0.1:port. `cut` counts for one piece, and is NEVER then. Close it."""

    def __init__(self, port: int, *, words: bytes = b"") -> None:
        self._target = ("127.0.0.1", port)
        self._words = words
        self.cut = Cut.NEVER
        self.on_cut: Callable[[], None] = lambda: None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._closed = False
        self._clients: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Takes no more; what goes through it ends by itself."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def cut_all(self) -> None:
        """Whatever goes through it just now ends here; new connections are taken."""
        for client in tuple(self._clients):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        self._clients.add(client)
        try:
            self._forward_all(client)
        finally:
            self._clients.discard(client)

    def _forward_all(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(self._target) as server:
            while True:
                for one in select.select([client, server], [], [])[0]:
                    if not (piece := one.recv(65536)):
                        return
                    if one is server:
                        client.sendall(piece)
                    elif self._words in piece and self.cut is not Cut.NEVER:
                        cut, self.cut = self.cut, Cut.NEVER
                        if cut is Cut.AFTER:
                            server.sendall(piece)
                            server.recv(65536)  # it has done it
                        self.on_cut()
                        return
                    else:
                        server.sendall(piece)
