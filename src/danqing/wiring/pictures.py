"""From settings to the place where pictures are: a directory, or an S3-compatible object store."""

import tempfile
from importlib.util import find_spec
from pathlib import Path

import structlog
from pydantic import SecretStr

from danqing.blobs.s3_place import S3Patience, S3Place, parse_address
from danqing.config import InvalidSettings, Settings
from danqing.core.errors import StorageFailure
from danqing.core.ports import ArtifactStore
from danqing.workers.factory import ArtifactStoreFactory

log = structlog.get_logger(__name__)

STAGING = "staging"
# At start: who waits for it would rather be told at once that the address or a key is wrong.
HASTE = S3Patience(connect_s=3, request_s=5, retries=1, retry_s=5)


def artifact_factory(settings: Settings) -> ArtifactStoreFactory:
    """How every process makes its own store for the one place. Raises InvalidSettings."""
    if settings.object_store is None:
        if settings.picture_redirects:
            raise InvalidSettings("DANQING_PICTURE_REDIRECTS needs DANQING_OBJECT_STORE: clients reach no folder.")
        return ArtifactStoreFactory(target="danqing.blobs.local:LocalArtifactStore", argument=settings.outputs)
    return ArtifactStoreFactory(target="danqing.blobs.s3:S3ArtifactStore", argument=object_place(settings))


def open_artifacts(settings: Settings) -> ArtifactStore:
    """The store of this process, tried out: no job is to be accepted whose picture has no place. Blocking, seconds.

    Raises InvalidSettings or StorageFailure.
    """
    factory = artifact_factory(settings)
    if settings.object_store is None:
        if settings.output_dir is None and (settings.redis_url or settings.broker_url):
            log.warning("pictures_are_on_this_machine", folder=str(settings.outputs), hint="see docs/pictures.md")
        check_folder(settings.outputs, "output directory")
        return factory.build()
    check_folder(settings.data_dir, "data directory")
    check_object_store(settings)
    artifacts = factory.build()
    artifacts.sweep({})  # what a process that died on this machine has left staged
    return artifacts


def check_object_store(settings: Settings) -> str:
    """Writes an object, lists and reads it, and removes it. Returns the place's address. Blocking, seconds.

    Raises StorageFailure, which says what may be wrong; InvalidSettings also where no object store is set.
    """
    from danqing.blobs.s3 import S3ArtifactStore  # only where `object_place` has found the library

    place = object_place(settings, patience=HASTE)
    reason = S3ArtifactStore(place).refusal()
    if reason is not None:
        where = f" at {place.endpoint}" if place.endpoint else f" in {place.region}"
        raise StorageFailure(
            f"The object store {place.address}{where} cannot be used: {reason}. Its bucket must be there, and its key "
            "may read, write, list and remove objects."
        )
    return place.address


def object_place(settings: Settings, *, patience: S3Patience | None = None) -> S3Place:
    """Where the settings say that it is. Raises InvalidSettings, also where they name none."""
    if settings.object_store is None:
        raise InvalidSettings("DANQING_OBJECT_STORE is not set.")
    if find_spec("obstore") is None:
        raise InvalidSettings("DANQING_OBJECT_STORE needs a package: pip install 'danqing[scaled]'.")
    if (settings.s3_access_key_id is None) != (settings.s3_secret_access_key is None):
        raise InvalidSettings("DANQING_S3_ACCESS_KEY_ID and DANQING_S3_SECRET_ACCESS_KEY go together.")
    bucket, prefix = parse_address(settings.object_store)
    path_style = settings.s3_path_style
    return S3Place(
        bucket=bucket,
        prefix=prefix,
        region=settings.s3_region,
        staging=settings.data_dir.absolute() / STAGING,
        endpoint=settings.s3_endpoint,
        redirects=settings.picture_redirects,
        public_endpoint=settings.s3_public_endpoint,
        path_style=settings.s3_endpoint is not None if path_style is None else path_style,
        access_key_id=_secret(settings.s3_access_key_id),
        secret_access_key=_secret(settings.s3_secret_access_key),
        session_token=_secret(settings.s3_session_token),
        authorities=None if settings.s3_ca_file is None else _read(settings.s3_ca_file),
        patience=patience or S3Patience(),
    )


def make_folders(settings: Settings) -> None:
    """The data dir; that of the pictures is `open_artifacts`'. Blocking. Raises StorageFailure."""
    check_folder(settings.data_dir, "data directory")


def check_folder(folder: Path, what: str) -> None:
    """Makes it, and writes into it. Raises StorageFailure."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StorageFailure(f"The {what} {folder} cannot be made.") from exc
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as exc:
        raise StorageFailure(f"The {what} {folder} cannot be written.") from exc


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        raise InvalidSettings(f"DANQING_S3_CA_FILE: {file} cannot be read.") from exc


def _secret(text: SecretStr | None) -> str | None:
    return None if text is None else text.get_secret_value()
