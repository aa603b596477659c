"""Copies of everything that a server keeps, taken while it runs; whether one is whole; and a data dir made from one.

A backup is a folder: the database, the server's secret, `outputs/` with the pictures, and `backup.json`, which names
every file with its size and SHA-256. It appears under its name only when all of it is there and synced.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

from danqing import __version__
from danqing.config import Settings
from danqing.core.clock import utc_now
from danqing.core.errors import ArtifactNotFound, StorageFailure
from danqing.core.picture_ports import ArtifactStore
from danqing.store.data_lock import DataDirectoryLock
from danqing.store.server_secret import SECRET_NAME
from danqing.store.snapshot import contents, is_sound, take_snapshot
from danqing.wiring.pictures import artifact_factory, open_artifacts
from danqing.wiring.stores import DATABASE_NAME

MANIFEST_NAME = "backup.json"
OUTPUTS = "outputs"
FORMAT = 1
_CHUNK_BYTES = 1 << 20
_IN_POSTGRES = (
    "The jobs are in PostgreSQL (DATABASE_URL is set), which has its own tools: {tool}, and then a copy of the "
    'pictures. docs/operations.md, "Backup with PostgreSQL", has the commands.'
)


@dataclass(frozen=True, kw_only=True)
class BackupReport:
    """missing: pictures that jobs have and that were not there to be copied."""

    jobs: int
    pictures: int
    size_bytes: int
    missing: int


def make_backup(settings: Settings, target: Path) -> BackupReport:
    """Copies what the server of these settings keeps into a new folder. The server may run, and is not held up.

    The database is copied first: what it names then is there already, and does not change any more. Blocking. Raises
    StorageFailure, also for a target that exists, and where the jobs are not in the data dir.
    """
    _must_have_a_file(settings, tool="pg_dump")
    if target.exists():
        raise StorageFailure(f"{target} is there already; a backup goes into a folder of its own.")
    half_made = target.with_name(f".{target.name}-{secrets.token_hex(8)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        half_made.mkdir(mode=0o700)  # prompts and a secret are in it
        try:
            report = _fill(settings, half_made)
            os.replace(half_made, target)
            _sync_folder(target.parent)
        except BaseException:
            shutil.rmtree(half_made, ignore_errors=True)
            raise
    except OSError as exc:
        raise StorageFailure(f"{target} cannot be written: {exc.strerror}.") from exc
    return report


def _fill(settings: Settings, folder: Path) -> BackupReport:
    (folder / OUTPUTS).mkdir()
    take_snapshot(settings.data_dir / DATABASE_NAME, folder / DATABASE_NAME)
    _sync(folder / DATABASE_NAME)
    if not is_sound(folder / DATABASE_NAME):
        raise StorageFailure("The database is damaged; nothing was backed up.")
    secret = settings.data_dir / SECRET_NAME
    if secret.exists():
        _copy(secret, folder / SECRET_NAME)
    held, artifacts, missing = contents(folder / DATABASE_NAME), artifact_factory(settings).build(), 0
    for name in sorted(held.pictures | held.inputs):
        try:
            _write(folder / OUTPUTS / name, artifacts.read(name))
        except ArtifactNotFound:  # removed meanwhile, say
            missing += name in held.pictures
    files = {str(path.relative_to(folder)): _described(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    size_bytes = sum(int(file["size_bytes"]) for file in files.values())
    pictures = len(os.listdir(folder / OUTPUTS))
    report = BackupReport(jobs=held.jobs, pictures=pictures, size_bytes=size_bytes, missing=missing)
    manifest = {"format": FORMAT, "version": __version__, "made_at": utc_now().isoformat(), **asdict(report)}
    _write(folder / MANIFEST_NAME, json.dumps({**manifest, "files": files}, indent=1).encode())
    _sync_folder(folder / OUTPUTS)
    _sync_folder(folder)
    return report


def check_backup(folder: Path) -> BackupReport:
    """Reads all of it. Raises StorageFailure, which names what is wrong, unless it is whole. Blocking."""
    manifest = _manifest(folder)
    for name, described in manifest["files"].items():
        try:
            found = _described(folder / name)
        except OSError as exc:
            raise StorageFailure(f"{folder / name} cannot be read: {exc.strerror}.") from exc
        if found != described:
            raise StorageFailure(f"{folder / name} is not the file that was backed up.")
    if not is_sound(folder / DATABASE_NAME):
        raise StorageFailure(f"The database in {folder} is damaged.")
    return _report(folder, manifest)


def restore_backup(folder: Path, settings: Settings) -> BackupReport:
    """Checks the backup and makes the data dir of these settings from it. Unfinished jobs go on at the next start.

    Blocking. Raises StorageFailure, also for a data dir that has a database, and where the jobs are not to be in it;
    DataDirectoryInUse.
    """
    _must_have_a_file(settings, tool="pg_restore")
    report, files = check_backup(folder), _manifest(folder)["files"]
    database = settings.data_dir / DATABASE_NAME
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        lock = DataDirectoryLock(settings.data_dir)
        lock.acquire()
        try:
            # A log that a removed database has left would be taken for this one's, and damage it.
            if any(settings.data_dir.glob(f"{DATABASE_NAME}*")):
                raise StorageFailure(f"{settings.data_dir} has a database already; restore into an empty data dir.")
            _bring_all(open_artifacts(settings), [folder / name for name in files if name.startswith(f"{OUTPUTS}/")])
            if SECRET_NAME in files:
                _copy(folder / SECRET_NAME, settings.data_dir / SECRET_NAME)
            # The database comes last: where it is, everything is.
            half_made = database.with_suffix(".restoring")
            half_made.unlink(missing_ok=True)
            _copy(folder / DATABASE_NAME, half_made)
            os.replace(half_made, database)
            _sync_folder(settings.data_dir)
        finally:
            lock.release()
    except OSError as exc:
        raise StorageFailure(f"{settings.data_dir} cannot be written: {exc.strerror}.") from exc
    return report


def _must_have_a_file(settings: Settings, *, tool: str) -> None:
    if settings.database_url is not None:
        raise StorageFailure(_IN_POSTGRES.format(tool=tool))


def _manifest(folder: Path) -> dict[str, Any]:  # Any: JSON values
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_bytes())
    except OSError as exc:
        raise StorageFailure(f"{folder} is no backup: it has no {MANIFEST_NAME}.") from exc
    except ValueError as exc:
        raise StorageFailure(f"{folder / MANIFEST_NAME} is damaged.") from exc
    if not isinstance(manifest, dict) or cast(dict[str, Any], manifest).get("format") != FORMAT:
        raise StorageFailure(f"{folder} was made by another version of Danqing.")
    read = cast(dict[str, Any], manifest)
    names = cast(dict[str, Any], read.get("files", {}))
    if DATABASE_NAME not in names or not all(map(_is_one_of_ours, names)):
        raise StorageFailure(f"{folder / MANIFEST_NAME} is damaged.")
    return read


def _is_one_of_ours(name: str) -> bool:
    """No path from a file is ever followed out of the folder."""
    path = Path(name)
    return path.name not in ("", "..") and path.parts in ((path.name,), (OUTPUTS, path.name))


def _report(folder: Path, manifest: dict[str, Any]) -> BackupReport:  # Any: JSON values
    try:
        return BackupReport(**{field.name: int(manifest[field.name]) for field in fields(BackupReport)})
    except (KeyError, TypeError, ValueError) as exc:
        raise StorageFailure(f"{folder / MANIFEST_NAME} is damaged.") from exc


def _described(path: Path) -> dict[str, Any]:  # Any: JSON values
    digest, size_bytes = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
    return {"size_bytes": size_bytes, "sha256": digest.hexdigest()}


def _bring_all(artifacts: ArtifactStore, files: Iterable[Path]) -> None:
    """A restore that was cut off goes on: what is there already stays."""
    for file in files:
        try:
            artifacts.size(file.name)
        except ArtifactNotFound:
            staged = artifacts.staging() / f"restored-{secrets.token_hex(16)}"
            _copy(file, staged)
            artifacts.adopt(staged, file.name)


def _copy(source: Path, target: Path) -> None:
    """With its permissions; synced."""
    shutil.copy(source, target)
    _sync(target)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot (FUSE, network shares), and a backup may go there
        _sync(path)
