"""What only a real server and a real client show."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from danqing.dialects.turbo.dialect import turbo
from tests.dialects.house import House, served

MEBIBYTE = 1024 * 1024
TOO_LARGE = {"code": 400, "message": "请求体过大，不能超过1024KB", "data": {}}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root: Path = tmp_path_factory.mktemp("outputs")
    with served(lambda: House(root), [turbo()]) as address:
        yield address


@pytest.fixture
def client() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def endless_json() -> Iterator[bytes]:
    yield b'{"prompt": "'
    for _ in range(40):
        yield b"x" * 100_000


def test_a_client_that_sends_too_much_reads_why(url: str, client: requests.Session) -> None:
    # Given a body of five mebibytes, its length declared, and then one in chunks
    for body in (b" " * 5 * MEBIBYTE, endless_json()):
        answer = client.post(f"{url}/api/generate", data=body, headers=JSON, timeout=20)

        assert (answer.status_code, answer.json()) == (400, TOO_LARGE)

    # Then the connection is still good for the next request
    assert client.get(f"{url}/health", timeout=20).json()["data"]["model_loaded"] is True


@pytest.mark.parametrize("path", ["/health", "/api/status", "/", "/livez"])
def test_head_answers_like_get(url: str, client: requests.Session, path: str) -> None:
    got, headed = client.get(url + path, timeout=20), client.head(url + path, timeout=20)

    assert (headed.status_code, headed.content) == (200, b"")
    assert headed.headers["content-length"] == got.headers["content-length"]


def test_the_server_does_not_say_what_it_is_made_of(url: str, client: requests.Session) -> None:
    answer = client.get(f"{url}/nothing", timeout=20)

    assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status", "message", "house"),
    [
        ("GET", "/nothing", 404, "接口不存在", "Not Found"),
        ("DELETE", "/", 405, "请求方法不允许", "Method Not Allowed"),
        ("POST", "/", 413, "请求体过大，不能超过64KB", "Request Entity Too Large"),
    ],
)
def test_paths_of_no_dialect_have_the_envelope_too(
    url: str, client: requests.Session, method: str, path: str, status: int, message: str, house: str
) -> None:
    body = b"x" * 65 * 1024 if status == 413 else None
    answer = client.request(method, url + path, data=body, timeout=20)

    assert answer.status_code == status
    assert answer.json() == {
        "code": status,
        "message": message,
        "data": {},
        "error": {"code": f"http_{status}", "message": house},
    }


def test_text_that_is_not_http_is_refused_and_harms_nobody(url: str, client: requests.Session) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall(b"\x16\x03\x01 what\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400")

    assert client.get(f"{url}/livez", timeout=20).json() == {"live": True}
