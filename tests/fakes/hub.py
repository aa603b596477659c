"""A Hugging Face hub on this machine: the few endpoints that are asked, over folders."""

import hashlib
import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import huggingface_hub.constants
import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Each repository's files lie in a folder. asked: files that were looked at; sent: those, with the first byte."""

    daemon_threads = True

    def __init__(self, repositories: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.gated: set[str] = set()
        self.breaks: dict[str, list[int]] = {}  # file: after how many bytes the connection breaks, time by time
        self.asked: set[str] = set()
        self.sent: list[tuple[str, int]] = []
        self.commit = COMMIT

    @property
    def address(self) -> str:
        """Without a slash at its end."""
        return f"http://127.0.0.1:{self.server_port}"


@dataclass(frozen=True)
class _Entry:
    path: str
    content: bytes = field(repr=False)

    @property
    def is_lfs(self) -> bool:
        return not self.path.endswith((".json", ".txt", ".md", ".jinja", ".py"))

    @property
    def oid(self) -> str:
        return (hashlib.sha256 if self.is_lfs else hashlib.sha1)(self.content).hexdigest()

    def sibling(self) -> dict[str, object]:
        lfs = {"sha256": self.oid, "size": len(self.content), "pointerSize": 1}
        own: dict[str, object] = {"rfilename": self.path, "size": len(self.content), "blobId": self.oid}
        return own | ({"lfs": lfs} if self.is_lfs else {})

    def leaf(self) -> dict[str, object]:
        lfs = {"oid": self.oid, "size": len(self.content), "pointerSize": 1}
        own: dict[str, object] = {"type": "file", "path": self.path, "size": len(self.content), "oid": self.oid}
        return own | ({"lfs": lfs} if self.is_lfs else {})


class _Handler(http.server.BaseHTTPRequestHandler):
    """`/api/models/{repo}…` and `/{repo}/resolve/{revision}/{file}`."""

    @property
    def hub(self) -> Hub:
        return cast(Hub, self.server)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/api/models/"):
            self._tell(path.removeprefix("/api/models/"))
        else:
            head, _, rest = path.partition("/resolve/")
            self._resolve(head.removeprefix("/"), *rest.partition("/")[::2])

    do_HEAD = do_GET

    def _entries(self, repo_id: str) -> list[_Entry] | None:
        folder = self.hub.repositories.get(repo_id)
        if folder is None:
            return None
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        return [_Entry(file.relative_to(folder).as_posix(), file.read_bytes()) for file in files]

    def _tell(self, rest: str) -> None:
        repo_id = "/".join(rest.split("/")[:2])
        what, _, revision = rest.removeprefix(repo_id).removeprefix("/").partition("/")
        entries = self._entries(repo_id)
        if entries is None:
            self._refuse(404, "RepoNotFound")
        elif what and revision not in ("main", self.hub.commit):
            self._refuse(404, "RevisionNotFound")
        elif what == "tree":
            self._answer(json.dumps([entry.leaf() for entry in entries]).encode())
        else:
            siblings = [entry.sibling() for entry in entries]
            info = {"id": repo_id, "sha": self.hub.commit, "siblings": siblings, "cardData": {"license": "apache-2.0"}}
            self._answer(json.dumps(info).encode())

    def _resolve(self, repo_id: str, revision: str, filename: str) -> None:
        self.hub.asked.add(filename)
        entries = self._entries(repo_id)
        entry = next((entry for entry in entries or [] if entry.path == filename), None)
        if entries is None:
            self._refuse(404, "RepoNotFound")
        elif repo_id in self.hub.gated:
            self._refuse(403, "GatedRepo")
        elif revision not in ("main", self.hub.commit):
            self._refuse(404, "RevisionNotFound")
        elif entry is None:
            self._refuse(404, "EntryNotFound")
        else:
            self._send(entry)

    def _send(self, entry: _Entry) -> None:
        begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if begin else 200)
        size = len(entry.content)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{size - 1}/{size}")
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("ETag", f'"{entry.oid}"')
        self.send_header("Content-Length", str(size - begin))
        self.end_headers()
        if self.command == "GET":
            self.hub.sent.append((entry.path, begin))
            breaks = self.hub.breaks.get(entry.path)
            self.wfile.write(entry.content[begin:][: breaks.pop(0) if breaks else None])

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def empty_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's library keeps what it downloads in the folder; the hub cannot be reached."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def reach(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is at that address."""
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setenv("NO_PROXY", "*")


@contextmanager
def hub_nearby(repositories: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub within reach."""
    with Hub(repositories) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        reach(server.address, monkeypatch)
        yield server
        server.shutdown()
        thread.join(20)
