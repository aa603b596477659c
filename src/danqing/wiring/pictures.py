"""From settings to the place where pictures are: a directory, or an S3-compatible object store."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import structlog
from pydantic import SecretStr

from danqing.blobs.s3_place import S3Patience, S3Place, parse_address
from danqing.config import InvalidSettings, Settings
from danqing.core.background import outliving, running
from danqing.core.errors import StorageAway, StorageFailure
from danqing.core.extras import how_to_install
from danqing.core.picture_ports import ArtifactStore
from danqing.durable_files import make_directory
from danqing.workers.factory import ArtifactStoreFactory

log = structlog.get_logger(__name__)

STAGING = "staging"
AGAIN_S = 10.0  # an object store that was away at the start
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

    Raises InvalidSettings, StorageAway for an object store that does not answer, StorageFailure for one that says no.
    """
    artifacts, away = _opened(settings)
    if away is not None:
        raise StorageAway(away)
    return artifacts


@asynccontextmanager
async def artifacts_that_may_be_away(settings: Settings) -> AsyncGenerator[ArtifactStore]:
    """As `open_artifacts`, but inside also where an object store does not answer yet: it is tried again inside, until
    it can be used, and what is wrong is logged. For a process that has more to do than with pictures.

    Raises InvalidSettings, or StorageFailure for one that says no.
    """
    artifacts, away = await asyncio.to_thread(_opened, settings)
    if away is None:
        yield artifacts
        return
    log.error("pictures_place_away", hint=away, again_every_s=AGAIN_S)
    async with running(try_again(settings), name="pictures-place"):
        yield artifacts


async def try_again(settings: Settings, *, every_s: float = AGAIN_S) -> None:
    """Until the object store can be used."""
    while True:
        await asyncio.sleep(every_s)
        with outliving("pictures_place_not_tried", again_every_s=every_s):
            place, reason = await asyncio.to_thread(_tried, settings)
            if reason is None:
                log.info("pictures_place_there", place=place.address)
                return
            log.error("pictures_place_away", hint=_told(place, reason), again_every_s=every_s)


def _opened(settings: Settings) -> tuple[ArtifactStore, str | None]:
    """And what to say of it where it does not answer."""
    factory = artifact_factory(settings)
    if settings.object_store is None:
        if settings.output_dir is None and (settings.redis_url or settings.broker_url):
            log.warning("pictures_are_on_this_machine", folder=str(settings.outputs), hint="see docs/pictures.md")
        check_folder(settings.outputs, "output directory")
        return factory.build(), None
    from danqing.blobs.s3_failures import is_away  # only where `artifact_factory` has found the library

    check_folder(settings.data_dir, "data directory")
    place, reason = _tried(settings)
    if reason is not None and not is_away(reason):
        raise StorageFailure(_told(place, reason))
    artifacts = factory.build()
    artifacts.sweep({})  # what a process that died on this machine has left staged
    return artifacts, None if reason is None else _told(place, reason)


def check_object_store(settings: Settings) -> str:
    """Writes an object, lists and reads it, and removes it. Returns the place's address. Blocking, seconds.

    Raises StorageFailure, which says what may be wrong; InvalidSettings also where no object store is set.
    """
    place, reason = _tried(settings)
    if reason is not None:
        raise StorageFailure(_told(place, reason))
    return place.address


def _tried(settings: Settings) -> tuple[S3Place, str | None]:
    """The place, and why it cannot be used, in a few words."""
    place = object_place(settings, patience=HASTE)
    from danqing.blobs.s3 import S3ArtifactStore  # only where `object_place` has found the library

    return place, S3ArtifactStore(place).refusal()


def _told(place: S3Place, reason: str) -> str:
    where = f" at {place.endpoint}" if place.endpoint else f" in {place.region}"
    return (
        f"The object store {place.address}{where} cannot be used: {reason}. Its bucket must be there, and its key "
        "may read, write, list and remove objects."
    )


def object_place(settings: Settings, *, patience: S3Patience | None = None) -> S3Place:
    """Where the settings say that it is. Raises InvalidSettings, also where they name none."""
    if settings.object_store is None:
        raise InvalidSettings("DANQING_OBJECT_STORE is not set.")
    if find_spec("obstore") is None:
        raise InvalidSettings(f"DANQING_OBJECT_STORE needs a package: {how_to_install('scaled')}.")
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
        make_directory(folder)
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
