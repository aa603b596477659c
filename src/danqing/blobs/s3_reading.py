"""Reads one object piece by piece; goes on where it was when the connection breaks or the reader is slow."""

from typing import TYPE_CHECKING

import obstore
import structlog
from obstore.exceptions import BaseError

from danqing.blobs.s3_failures import reason_of, translated
from danqing.core.errors import ArtifactNotFound, StorageFailure

if TYPE_CHECKING:
    from obstore import BytesStream, GetOptions, GetResult
    from obstore.store import S3Store

log = structlog.get_logger(__name__)

PIECE_BYTES = 1024 * 1024
_TRIES = 3  # in a row without a byte


class S3Picture:
    """Implements `core.open_picture.OpenPicture`. Whole though it is removed meanwhile, but for one thing: where the
    connection to the store breaks after that, or the reader takes longer than a request may, it breaks off.
    """

    def __init__(self, store: "S3Store", name: str, result: "GetResult") -> None:
        """result: of a request for the whole object."""
        self._store = store
        self._name = name
        self._tag = result.meta["e_tag"]
        self._stream: BytesStream | None = result.stream(min_chunk_size=PIECE_BYTES)
        self._read_bytes = 0
        self.size_bytes = result.meta["size"]
        self.version = (self._tag or f"{result.meta['last_modified']:%Y%m%dT%H%M%S}-{self.size_bytes:x}").strip('"')

    async def read(self) -> bytes:
        """See the port."""
        tries = 0
        while self._stream is not None and self._read_bytes < self.size_bytes:
            try:
                piece = bytes(await anext(self._stream, b""))
                if piece:
                    self._read_bytes += len(piece)
                    return piece
                reason = "it ended early"
            except (BaseError, OSError) as exc:
                reason = reason_of(exc)
            tries += 1
            if tries > _TRIES:
                log.error("artifact_read_failed", name=self._name, reason=reason)
                raise StorageFailure
            await self._go_on(reason)
        return b""

    def close(self) -> None:
        """See the port. What has not been read is not fetched."""
        self._stream = None

    async def _go_on(self, reason: str) -> None:
        """From where it broke off, if it is still the same object."""
        log.info("artifact_read_again", name=self._name, at_bytes=self._read_bytes, reason=reason)
        options: GetOptions = {"range": {"offset": self._read_bytes}}
        if self._tag:
            options["if_match"] = self._tag
        try:
            with translated("read", self._name):
                result = await obstore.get_async(self._store, self._name, options=options)
        except ArtifactNotFound as exc:  # the answer has begun already
            raise StorageFailure from exc
        self._stream = result.stream(min_chunk_size=PIECE_BYTES)
