"""What a store says in words of its own, over the real library and a small server that says it."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from danqing.blobs.s3 import S3ArtifactStore
from danqing.blobs.s3_place import S3Patience, S3Place

KEY = re.compile(rb"<Key>(.*?)</Key>")


class _Removing(BaseHTTPRequestHandler):
    """Removes nothing; says of each object what became of it."""

    codes: dict[bytes, bytes]  # by key, of those that are no success
    requests: list[int]  # how many names each had

    def do_POST(self) -> None:
        """The library's only request of this kind."""
        keys = KEY.findall(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append(len(keys))
        told = b"".join(self._told(key) for key in keys)
        answer = b'<?xml version="1.0"?><DeleteResult>' + told + b"</DeleteResult>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _told(self, key: bytes) -> bytes:
        if (code := self.codes.get(key)) is None:
            return b"<Deleted><Key>" + key + b"</Key></Deleted>"
        return b"<Error><Key>" + key + b"</Key><Code>" + code + b"</Code><Message>No.</Message></Error>"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def _store(folder: Path, codes: dict[bytes, bytes]) -> Iterator[tuple[S3ArtifactStore, list[int]]]:
    requests: list[int] = []
    handler = type("_Handler", (_Removing,), {"codes": codes, "requests": requests})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        place = S3Place(
            bucket="pictures",
            prefix="",
            region="us-east-1",
            staging=folder / "staging",
            endpoint=f"http://127.0.0.1:{server.server_port}",
            path_style=True,
            access_key_id="key",
            secret_access_key="secret",
            patience=S3Patience(retries=1),
        )
        try:
            yield S3ArtifactStore(place), requests
        finally:
            server.shutdown()
            thread.join()


def test_names_that_are_not_there_are_removed_in_one_request(tmp_path: Path) -> None:
    with _store(tmp_path, {}) as (store, requests):
        assert store.remove_all([f"{number}.png" for number in range(900)]) == frozenset()
        assert requests == [900]


def test_one_that_is_not_there_keeps_no_other_though_the_store_takes_it_for_an_error(tmp_path: Path) -> None:
    with _store(tmp_path, {b"b.png": b"NoSuchKey"}) as (store, _):
        assert store.remove_all(["a.png", "b.png", "c.png"]) == frozenset()


@pytest.mark.parametrize("code", [b"AccessDenied", b"InternalError"])
def test_what_cannot_be_removed_stays(tmp_path: Path, code: bytes) -> None:
    with _store(tmp_path, {b"b.png": code}) as (store, _):
        assert store.remove_all(["a.png", "b.png"]) == {"a.png", "b.png"}
    with _store(tmp_path, {b"a.png": b"NoSuchKey", b"b.png": code}) as (store, _):
        assert store.remove_all(["a.png", "b.png", "c.png"]) == {"b.png", "c.png"}
