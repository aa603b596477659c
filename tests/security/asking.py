"""Asks a server whatever a stranger might, down to the bytes on the wire, and looks what it lets out."""

import base64
import json
import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
import websockets.sync.client
from websockets.exceptions import ConnectionClosed, InvalidStatus

TIMEOUT_S = 60
# What no answer may have: a library's words, a place on the disk, an address in memory.
LEAKS = re.compile(
    r"Traceback|object at 0x|site-packages|\.py\b|File \"|/tmp/|/home/|/root/|errors\.pydantic\.dev|sqlalchemy"
    r"|sqlite3|PIL\.|starlette|uvicorn|httptools|cannot identify image|psycopg",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Answer:
    """status: of HTTP, or the close code of a WebSocket; 0 for a connection that was closed without a word."""

    status: int
    text: str
    headers: dict[str, str]

    def check(self, status: int, contains: str) -> None:
        """As documented, and nothing that is nobody's business."""
        assert (self.status, contains in self.text) == (status, True), f"{self.status} {self.text[:500]}"
        assert not LEAKS.search(self.text), self.text[:2000]


class Asker:
    """url: of the shared port."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.address = (urlsplit(url).hostname or "", urlsplit(url).port or 0)

    def http(self, method: str, path: str, **options: Any) -> Answer:  # noqa: ANN401 - requests'
        """Through an ordinary client."""
        options.setdefault("timeout", TIMEOUT_S)
        answer = requests.request(method, self.url + path, **options)
        is_text = not answer.headers.get("content-type", "").startswith("image/")
        return Answer(answer.status_code, answer.text if is_text else "", dict(answer.headers))

    def post_json(self, path: str, body: object, **headers: str) -> Answer:
        """body: JSON, or bytes to be sent as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http("POST", path, data=content, headers={"Content-Type": "application/json"} | headers)

    def raw(self, *pieces: bytes, hang_up: bool = False) -> Answer:
        """Bytes on a connection of their own; the answer is read until the server ends it."""
        told = b""
        with socket.create_connection(self.address, timeout=TIMEOUT_S) as connection:
            try:
                for piece in pieces:
                    connection.sendall(piece)
                if hang_up:
                    return Answer(0, "", {})
                while piece := connection.recv(65536):
                    told += piece
            except ConnectionError:  # it had seen enough while this was still talking
                pass
        head, _, body = told.partition(b"\r\n\r\n")
        words = head.split(b" ", 2)
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        return Answer(status, body.decode(errors="replace"), {})

    def get_raw(self, target: str, *headers: str) -> Answer:
        """A GET whose target and headers no client would send."""
        lines = [f"GET {target} HTTP/1.1", *(headers or ("Host: localhost",)), "Connection: close", "", ""]
        return self.raw("\r\n".join(lines).encode("latin-1"))

    def socket(self, *messages: str | bytes, headers: dict[str, str] | None = None, query: str = "") -> Answer:
        """What the live dialect says to the last of these messages; its close code if it ends the connection."""
        url = self.url.replace("http", "ws", 1) + "/api/ws" + query
        told = ""
        try:
            with websockets.sync.client.connect(url, additional_headers=headers, compression=None) as client:
                for message in messages:
                    client.send(message)
                    told = str(client.recv(TIMEOUT_S))
        except InvalidStatus as exc:
            return Answer(exc.response.status_code, (exc.response.body or b"").decode(), {})
        except ConnectionClosed as exc:
            return Answer(exc.rcvd.code if exc.rcvd else 0, told, {})
        return Answer(200, told, {})

    def frames(self, *frames: bytes) -> Answer:
        """Bytes after a WebSocket's handshake; the answer is the code of the server's close frame, or 0."""
        handshake = (
            b"GET /api/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n\r\n"
        )
        told = b""
        with socket.create_connection(self.address, timeout=TIMEOUT_S) as connection:
            connection.sendall(handshake)
            while b"\r\n\r\n" not in told:
                told += connection.recv(65536)
            told = told.partition(b"\r\n\r\n")[2]
            with suppress(ConnectionError):
                for frame in frames:
                    connection.sendall(frame)
            with suppress(ConnectionError):  # what came before the server hung up is still there
                while piece := connection.recv(65536):
                    told += piece
        at = told.rfind(b"\x88")
        return Answer(int.from_bytes(told[at + 2 : at + 4], "big") if at >= 0 else 0, "", {})


def a_frame(opcode: int, content: bytes, *, final: bool = True, masked: bool = True) -> bytes:
    """A WebSocket frame of a client, its mask being zero."""
    first = bytes([(0x80 if final else 0) | opcode])
    mark = 0x80 if masked else 0
    if len(content) < 126:
        length = bytes([mark | len(content)])
    elif len(content) < 65536:
        length = bytes([mark | 126]) + len(content).to_bytes(2, "big")
    else:
        length = bytes([mark | 127]) + len(content).to_bytes(8, "big")
    return first + length + (bytes(4) if masked else b"") + content


def form(*parts: tuple[str, bytes], boundary: str = "b") -> bytes:
    """A multipart body. parts: what follows `Content-Disposition: form-data; `, and the content."""
    lines = [
        f"--{boundary}\r\nContent-Disposition: form-data; {said}\r\n\r\n".encode() + content for said, content in parts
    ]
    return b"\r\n".join([*lines, f"--{boundary}--\r\n".encode()])
