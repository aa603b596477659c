"""A real S3-compatible server (SeaweedFS, from a wheel) for the tests that ask for one: started by them, and ended."""

import ctypes
import json
import os
import secrets
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from danqing.blobs.s3 import S3ArtifactStore
from danqing.blobs.s3_place import S3Patience, S3Place
from danqing.core.errors import StorageFailure
from tests.services.ports import free_ports

BUCKET, REGION = "pictures", "us-east-1"
KEY, SECRET = "danqing-test", "the secret of danqing-test"
READER_KEY, READER_SECRET = "reader-test", "the secret of reader-test"  # may not write
START_S = 60.0
FOLDERS = "danqing-s3-"
_USERS = {
    "identities": [
        {
            "name": "owner",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        },
        {
            "name": "reader",
            "credentials": [{"accessKey": READER_KEY, "secretKey": READER_SECRET}],
            "actions": ["Read", "List"],
        },
    ]
}
_PORTS = (
    "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc", "s3.port",
    "s3.port.grpc",
)  # fmt: skip
_LIBC = ctypes.CDLL(None, use_errno=True)


class S3Server:
    """One server on free ports of this machine. It ends with the process that started it, however that ends."""

    def __init__(self, folder: Path) -> None:
        """folder: an empty one, for all that it writes."""
        self._folder = folder
        self._ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._ports['s3.port']}"

    @property
    def runs(self) -> bool:
        """False before it is started, and when it was killed."""
        return self._process is not None

    @property
    def port(self) -> int:
        """Of its address."""
        return self._ports["s3.port"]

    def environment(self, prefix: str) -> dict[str, str]:
        """The variables with which a Danqing keeps its pictures there."""
        return {
            "DANQING_OBJECT_STORE": f"s3://{BUCKET}/{prefix}",
            "DANQING_S3_ENDPOINT": self.endpoint,
            "DANQING_S3_ACCESS_KEY_ID": KEY,
            "DANQING_S3_SECRET_ACCESS_KEY": SECRET,
        }

    def place(self, staging: Path, *, prefix: str | None = None, **changes: Any) -> S3Place:  # noqa: ANN401  # its fields have many types
        """A fresh part of the bucket, unless a prefix says which."""
        fields: dict[str, Any] = {
            "bucket": BUCKET,
            "prefix": secrets.token_hex(8) if prefix is None else prefix,
            "region": REGION,
            "staging": staging,
            "endpoint": self.endpoint,
            "path_style": True,
            "access_key_id": KEY,
            "secret_access_key": SECRET,
        }
        return S3Place(**(fields | changes))

    def start(self) -> None:
        """Returns once pictures can be stored. What it had before it was killed is there again."""
        (self._folder / "data").mkdir(parents=True, exist_ok=True)
        users = self._folder / "users.json"
        users.write_text(json.dumps(_USERS))
        options = [f"-{name}={port}" for name, port in self._ports.items()]
        command = [
            *(str(Path(sysconfig.get_path("scripts")) / "weed"), "-logtostderr=true", "server"),
            *(f"-dir={self._folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *options),
            *("-volume.max=64", "-volume.index=memory", "-master.volumeSizeLimitMB=64", "-filer", "-s3"),
            "-master.telemetry=false",
            *(f"-s3.config={users}", "-s3.iam=false", "-s3.autoCreateBucket=false"),
            *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder, preexec_fn=_die_with_us
            )
        self._until_ready()

    def kill(self) -> None:
        """As a crash does it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(20)
            self._process = None
            for left in (*self._sockets(), *(self._folder / "data").glob("m[0-9]*/*")):
                # The second are the votes for its one master, which it would wait for after a restart.
                shutil.rmtree(left) if left.is_dir() else left.unlink()

    def freeze(self) -> None:
        """Connections are taken, by the system, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _sockets(self) -> Iterable[Path]:
        """What it leaves behind outside of its folder."""
        for port in self._ports.values():
            yield from Path("/tmp").glob(f"seaweedfs-*-{port}.sock")

    def _until_ready(self) -> None:
        """A bucket is a folder of the server's own file store."""
        assert self._process is not None
        bucket = f"http://127.0.0.1:{self._ports['filer.port']}/buckets/{BUCKET}/"
        store = S3ArtifactStore(self.place(self._folder, prefix="ready", patience=S3Patience(retries=0, request_s=2)))
        deadline = time.monotonic() + START_S
        while True:
            try:
                answer = httpx2.post(bucket, timeout=2)
                if answer.status_code != 409:  # it is there already
                    answer.raise_for_status()
                store.probe()
                return
            except (httpx2.HTTPError, StorageFailure):
                log = (self._folder / "log").read_text(errors="replace")[-2000:]
                assert self._process.poll() is None, f"the S3 server has ended: {log}"
                assert time.monotonic() < deadline, f"the S3 server does not start: {log}"
                time.sleep(0.1)


@contextmanager
def s3_server() -> Generator[S3Server]:
    """A server for as long as the context; nothing of it is left."""
    folder = new_folder()
    server = S3Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def new_folder() -> Path:
    """For one server. If this process is killed, it is removed before the next one starts."""
    remove_what_the_dead_left()
    return Path(tempfile.mkdtemp(prefix=f"{FOLDERS}{os.getpid()}-"))


def remove_what_the_dead_left() -> None:
    """Files of servers whose starter was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDERS}*-*"):
        starter = folder.name.removeprefix(FOLDERS).partition("-")[0]
        if starter.isdecimal() and not Path("/proc", starter).exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _die_with_us() -> None:
    """Between fork and exec: the kernel ends the server with the thread that started it, so with the tests."""
    _LIBC.prctl(1, signal.SIGKILL, 0, 0, 0)
    os.setsid()
