"""How much of a form is taken. Large files go to the disk as they come; all else of a form is held in memory."""

from tempfile import SpooledTemporaryFile
from typing import Any, TypedDict, cast

import starlette.requests
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from danqing.http.body_budget import held_now

MAX_FILES = 32
MAX_FIELDS = 64  # that are no files
MAX_FIELD_BYTES = 256 * 1024  # each
MAX_TEXT_BYTES = 288 * 1024  # all fields and the heads of all parts; four times that in memory, once decoded
FILE_IN_MEMORY_BYTES = 64 * 1024
# As `codecs.lookup` names them. Python knows many more, some of which take a time that grows with the square of a text.
_CHARSETS = ("utf-8", "ascii", "iso8859-1")
FILES_IN_MEMORY_BYTES = 8 * FILE_IN_MEMORY_BYTES  # of one form; what has no room there goes to the disk


class FormLimits(TypedDict, total=False):
    """As starlette's `Request.form` takes them."""

    max_files: int
    max_fields: int
    max_part_size: int


# What FastAPI reads forms with; a route that reads one by itself does it with `request.form(**FORM_LIMITS)`.
FORM_LIMITS = FormLimits(max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)


class _TextLimit:
    """Counts what a parser holds in memory."""

    _text_bytes = 0

    def _count(self, more: int) -> None:
        self._text_bytes += more
        if self._text_bytes > MAX_TEXT_BYTES:
            raise MultiPartException(f"All fields together have more than {MAX_TEXT_BYTES // 1024} KiB.")


class _Memory:
    """What the small files of one form have in memory."""

    def __init__(self) -> None:
        self._held_bytes = 0

    def take(self, more: int, *, file_bytes: int) -> bool:
        """For a file that has file_bytes there. False if it is to go to the disk, which gives those back."""
        held = self._held_bytes + more
        if file_bytes + more > FILE_IN_MEMORY_BYTES or held > FILES_IN_MEMORY_BYTES:
            self._held_bytes -= file_bytes
            return False
        self._held_bytes = held
        return True


class _FormFile(UploadFile):
    """Goes to the disk when there is no room for it in memory. There it is an open file, which counts as one of its
    owner's until it is closed.
    """

    def __init__(self, plain: UploadFile, memory: _Memory) -> None:
        super().__init__(plain.file, size=0, filename=plain.filename, headers=plain.headers)
        self._memory = memory
        self._held = held_now()
        self._on_disk = False

    async def write(self, data: bytes) -> None:
        """Raises TooBusy where too many files are open."""
        if not self._on_disk and not self._memory.take(len(data), file_bytes=self.size or 0):
            self._held.open_file()
            self._on_disk = True
            # Starlette has not said which kind of file it is.
            await run_in_threadpool(cast("SpooledTemporaryFile[bytes]", self.file).rollover)
        await super().write(data)

    async def close(self) -> None:
        """Also a second time."""
        await super().close()
        if self._on_disk:
            self._on_disk = False
            self._held.close_file()


class _BoundedMultiPartParser(_TextLimit, MultiPartParser):
    spool_max_size = 0  # none: `_FormFile` tells what goes to the disk

    def __init__(self, *given: Any, **named: Any) -> None:  # noqa: ANN401 - starlette's
        super().__init__(*given, **named)
        self._memory = _Memory()

    def on_part_begin(self) -> None:
        if self._charset not in _CHARSETS:
            raise MultiPartException("The charset of a form must be utf-8.")
        super().on_part_begin()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        super().on_header_field(data, start, end)

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        super().on_header_value(data, start, end)

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        if (plain := self._current_part.file) is not None:
            self._current_part.file = _FormFile(plain, self._memory)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            self._count(end - start)
        super().on_part_data(data, start, end)


class _BoundedFormParser(_TextLimit, FormParser):
    def on_field_name(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        super().on_field_name(data, start, end)

    def on_field_data(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        super().on_field_data(data, start, end)


def bound_forms() -> None:
    """For this process: starlette has no parameter for what all fields have together, or when files go to the disk."""
    starlette.requests.MultiPartParser = _BoundedMultiPartParser  # pyright: ignore[reportPrivateImportUsage]
    starlette.requests.FormParser = _BoundedFormParser  # pyright: ignore[reportPrivateImportUsage]
