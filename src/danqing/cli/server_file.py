"""`server.json` in the data dir: how commands on the same machine find the server that runs on that data dir."""

import contextlib
import json
import os
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self, cast

import psutil
import structlog

log = structlog.get_logger(__name__)

FILE_NAME = "server.json"


@dataclass(frozen=True, kw_only=True)
class RunningServer:
    """url: base address that this machine reaches it at. model: id of its default model."""

    url: str
    pid: int
    model: str

    @classmethod
    def of(cls, url: str, *, model: str) -> Self:
        """This process."""
        return cls(url=url, pid=os.getpid(), model=model)


@contextlib.contextmanager
def announced(data_dir: Path, server: RunningServer) -> Generator[None]:
    """Keeps the file there while the context lasts. The server runs without it: a failure is only logged."""
    path = data_dir / FILE_NAME
    try:
        half_written = path.with_suffix(f".{os.getpid()}.tmp")
        half_written.write_text(json.dumps(asdict(server)), encoding="utf-8")
        half_written.replace(path)
    except OSError as exc:
        log.warning("server_file_not_written", path=str(path), reason=exc.strerror)
    try:
        yield
    finally:
        try:
            if _is_ours(path):  # servers that share a store may share a data dir, and the last one to come is told of
                path.unlink(missing_ok=True)
        except OSError as exc:
            log.warning("server_file_not_removed", path=str(path), reason=exc.strerror)


def _is_ours(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text(encoding="utf-8"))["pid"] == os.getpid())
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return False


def find_announced(data_dir: Path) -> RunningServer | None:
    """The server of this data dir, if its process is alive. It may be starting or stopping: ask it."""
    try:
        fields = json.loads((data_dir / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(fields, dict):
        return None
    match cast(dict[str, object], fields):
        case {"url": str(url), "pid": int(pid), "model": str(model)} if psutil.pid_exists(pid):
            return RunningServer(url=url, pid=pid, model=model)
        case _:
            return None
