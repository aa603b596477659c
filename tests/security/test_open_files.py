"""Forms that never come to their end do not use up the files that a real server may have open."""

import contextlib
import resource
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from danqing.http.forms import FILE_IN_MEMORY_BYTES
from danqing.http.open_files import MOST
from tests.e2e.servers import Server, a_server, until
from tests.security.asking import Asker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prlimit and /proc are Linux's")
FORMS, FILES = 8, 199  # and one whose content never comes
HEAD = (
    b"POST /v1/images/edits HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000000\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
)
PART = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n'
ROOM = 400  # files that the server may have open: a form of as many files as one owner may have open leaves enough


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One that was started with few files, and that may have no more than ROOM afterwards."""
    with a_server(tmp_path) as server:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        try:
            server.start_ready()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        yield server


def pid(server: Server) -> int:
    assert server.process is not None
    return server.process.pid


def open_files(server: Server) -> list[str]:
    links: list[str] = []
    for link in Path(f"/proc/{pid(server)}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed just now
            links.append(str(link.readlink()))
    return links


@contextlib.contextmanager
def unfinished(server: Server, forms: int, content: bytes) -> Iterator[list[socket.socket]]:
    """Forms of so many files with this content, each on its connection; the last file does not end."""
    body = (PART + content + b"\r\n") * FILES + PART + b"x"
    with contextlib.ExitStack() as stack:
        connections: list[socket.socket] = []
        for _ in range(forms):
            connection = stack.enter_context(socket.create_connection(Asker(server.url).address, timeout=60))
            with contextlib.suppress(ConnectionError):  # it was refused before its end
                connection.sendall(HEAD + body)
            connections.append(connection)
        yield connections


def test_the_server_may_have_as_many_files_open_as_the_system_lets_it(server: Server) -> None:
    soft, hard = resource.prlimit(pid(server), resource.RLIMIT_NOFILE)

    assert soft == min(hard, MOST)


def test_forms_of_small_files_open_none(server: Server) -> None:
    resource.prlimit(pid(server), resource.RLIMIT_NOFILE, (ROOM, ROOM))

    with unfinished(server, FORMS, b"xx"):
        for _ in range(20):
            assert requests.get(f"{server.url}/livez", timeout=60).status_code == 200
        assert not [link for link in open_files(server) if "(deleted)" in link and "/tmp/" in link]


def test_forms_of_large_files_leave_room_for_others(server: Server) -> None:
    resource.prlimit(pid(server), resource.RLIMIT_NOFILE, (ROOM, ROOM))

    with unfinished(server, 3, bytes(FILE_IN_MEMORY_BYTES + 1)) as connections:
        answers = [connection.recv(12) for connection in connections[1:]]
        assert answers == [b"HTTP/1.1 503"] * 2
        assert requests.get(f"{server.url}/livez", timeout=60).status_code == 200

    # Then what the forms had open is closed
    until(lambda: not [link for link in open_files(server) if "(deleted)" in link], "no file that is open")
