"""Reads JSON bodies with base64 pictures in them: pictures go to the disk as they come, the rest is small."""

import asyncio
import codecs
import json
import secrets
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from starlette.requests import Request

from danqing.core.errors import BodyTooSlow, InvalidImage, InvalidRequest, StorageFailure
from danqing.core.images import MAX_IMAGE_BYTES
from danqing.core.picture_ports import ArtifactStore
from danqing.core.threads import in_thread_to_its_end
from danqing.http.base64_images import Base64Decoding
from danqing.http.json_members import check_members
from danqing.http.picture_scan import PictureScan

MAX_REST_CHARS = 512 * 1024  # of a body, without its pictures
_PIECE_BYTES = 256 * 1024  # read before a thread takes them
_ENCODING_BYTES = 4  # that tell in which Unicode a JSON text is written


@dataclass(frozen=True, kw_only=True)
class PictureFields:
    """Where pictures are in a body. names: of the fields that hold them, as base64 or data URLs. depths: as in
    `PictureScan`. most: how many are read. only_urls: whether base64 that is no data URL is refused.
    """

    names: Collection[str]
    most: int
    depths: Collection[int] = (1,)
    only_urls: bool = False


@dataclass(frozen=True, kw_only=True)
class SentPicture:
    """A picture as it was sent, unchecked. path: a file, gone after the context. refusal: why it is no file.

    name: of its field, which the refusal begins with.
    """

    path: Path
    name: str = ""
    refusal: InvalidImage | None = None

    def refused(self, parameter: str) -> InvalidImage | None:
        """The refusal, of this name in the client's request."""
        if self.refusal is None:
            return None
        return InvalidImage(parameter + self.refusal.public_message.removeprefix(self.name), parameter=parameter)


@dataclass(frozen=True, kw_only=True)
class JsonBody:
    """value: what the JSON says, with another text in place of each picture that is not empty. pictures: those, by that
    text.
    """

    value: object
    pictures: Mapping[str, SentPicture]


@asynccontextmanager
async def json_body(
    request: Request, artifacts: ArtifactStore, *, pictures: PictureFields, timeout_s: float
) -> AsyncGenerator[JsonBody]:
    """The whole body.

    Raises InvalidRequest, BodyTooSlow or StorageFailure. What is wrong with a picture is left to whoever stages it.
    """
    reading = _Reading(await asyncio.to_thread(artifacts.staging), pictures)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(in_thread_to_its_end, reading.remove)
        try:
            async with asyncio.timeout(timeout_s):
                body = await _read(request, reading)
        except TimeoutError as exc:
            raise BodyTooSlow from exc
        yield body


async def _read(request: Request, reading: "_Reading") -> JsonBody:
    piece = bytearray()
    async for chunk in request.stream():
        piece += chunk
        if len(piece) >= _PIECE_BYTES:
            await in_thread_to_its_end(partial(reading.feed, piece))
            piece.clear()
    return await in_thread_to_its_end(partial(reading.finish, piece))


@dataclass
class _Picture:
    """A `PictureSink` that writes a file."""

    path: Path
    name: str
    only_url: bool
    refusal: InvalidImage | None = None
    is_empty: bool = True
    file: IO[bytes] | None = None
    decoding: Base64Decoding = field(init=False)

    def __post_init__(self) -> None:
        try:
            self.file = self.path.open("xb")
        except OSError as exc:
            raise StorageFailure from exc
        self.decoding = Base64Decoding(
            self._write, max_bytes=MAX_IMAGE_BYTES, parameter=self.name, only_url=self.only_url
        )

    def feed(self, text: str) -> None:
        self.is_empty = False
        if self.refusal is None:
            try:
                self.decoding.feed(text)
            except InvalidImage as exc:
                self.refusal = exc

    def finish(self) -> None:
        if self.refusal is None and not self.is_empty:
            try:
                self.decoding.finish()
            except InvalidImage as exc:
                self.refusal = exc
        self.close()

    def close(self) -> None:
        if self.file is not None:
            with suppress(OSError):  # what was not written is missed when the picture is decoded
                self.file.close()
            self.file = None

    def _write(self, content: bytes) -> None:
        if self.file is not None:
            try:
                self.file.write(content)
            except OSError as exc:
                raise StorageFailure from exc


class _Reading:
    """One body. All methods block."""

    def __init__(self, folder: Path, fields: PictureFields) -> None:
        self._folder = folder
        self._pictures: dict[str, _Picture] = {}  # by the text that stands for it
        self._scan = PictureScan(fields.names, self._open, max_kept_chars=MAX_REST_CHARS, depths=fields.depths)
        self._decoder: codecs.IncrementalDecoder | None = None
        self._head = bytearray()
        self._fields = fields

    def feed(self, piece: bytes | bytearray, *, last: bool = False) -> None:
        """Raises InvalidRequest or StorageFailure."""
        try:
            if self._decoder is None:
                self._head += piece
                if len(self._head) < _ENCODING_BYTES and not last:
                    return
                encoding = json.detect_encoding(self._head)
                self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
                piece, self._head = self._head, bytearray()
            self._scan.feed(self._decoder.decode(bytes(piece), last))
        except ValueError as exc:
            raise _no_json() from exc
        except OverflowError as exc:
            raise InvalidRequest(f"the body has more than {MAX_REST_CHARS // 1024} KiB beside its pictures.") from exc

    def finish(self, piece: bytes | bytearray) -> JsonBody:
        """piece: the last one. Raises InvalidRequest or StorageFailure."""
        if not piece and self._decoder is None and not self._head:
            raise InvalidRequest("the body must be a JSON object.")
        self.feed(piece, last=True)
        try:
            text = self._scan.finish()
            for token in [token for token, picture in self._pictures.items() if picture.is_empty]:
                text = text.replace(token, "")
            check_members(text)
            value: object = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise _no_json() from exc
        sent = {
            token: SentPicture(path=picture.path, name=picture.name, refusal=picture.refusal)
            for token, picture in self._pictures.items()
            if not picture.is_empty
        }
        return JsonBody(value=value, pictures=sent)

    def remove(self) -> None:
        """The files."""
        for picture in self._pictures.values():
            picture.close()
            with suppress(OSError):
                picture.path.unlink(missing_ok=True)

    def _open(self, name: str) -> tuple[_Picture, str]:
        """Of a field that is there twice the later one counts, as everywhere in JSON."""
        if len(self._pictures) >= self._fields.most:
            raise InvalidRequest(f"the body has more than {self._fields.most} pictures.")
        token = secrets.token_hex(16)
        picture = _Picture(self._folder / f"upload-{token}", name, self._fields.only_urls)
        self._pictures[token] = picture
        return picture, token


def _no_json() -> InvalidRequest:
    return InvalidRequest("the body is not valid JSON.")
