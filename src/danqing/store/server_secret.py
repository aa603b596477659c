"""The server's own secret: it signs addresses and keys fingerprints, and outlives restarts."""

import os
import secrets
from pathlib import Path

from danqing.core.errors import StorageFailure
from danqing.durable_files import sync_directory

SECRET_NAME = "danqing.secret"
SECRET_BYTES = 32


def server_secret(directory: Path) -> bytes:
    """The secret in this directory, drawn at the first call. Readable by its owner only.

    Blocking; the directory's lock must be held. Raises StorageFailure.
    """
    path = directory / SECRET_NAME
    try:
        if not path.exists():
            _write(path, secrets.token_bytes(SECRET_BYTES))
        secret = path.read_bytes()
    except OSError as exc:
        raise StorageFailure(f"{path} cannot be read or written.") from exc
    if len(secret) != SECRET_BYTES:
        raise StorageFailure(f"{path} is damaged; remove it, and signed addresses that are out become void.")
    return secret


def _write(path: Path, secret: bytes) -> None:
    half_written = path.with_suffix(".tmp")
    half_written.unlink(missing_ok=True)
    descriptor = os.open(half_written, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(descriptor)
    half_written.replace(path)
    sync_directory(path.parent)
