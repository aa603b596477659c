"""How much of a form is taken. Large files go to the disk as they come; all else of a form is held in memory."""

from typing import TypedDict

import starlette.requests
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

MAX_FILES = 32
MAX_FIELDS = 64  # that are no files
MAX_FIELD_BYTES = 256 * 1024  # each
MAX_TEXT_BYTES = 288 * 1024  # all fields and the heads of all parts; four times that in memory, once decoded
FILE_IN_MEMORY_BYTES = 64 * 1024
# As `codecs.lookup` names them. Python knows many more, some of which take a time that grows with the square of a text.
_CHARSETS = ("utf-8", "ascii", "iso8859-1")
MAX_FILES_IN_MEMORY = 8  # further ones go to the disk whatever their length


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


class _BoundedMultiPartParser(_TextLimit, MultiPartParser):
    spool_max_size = FILE_IN_MEMORY_BYTES  # starlette's is a megabyte

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
        if self._current_files >= MAX_FILES_IN_MEMORY:
            self.spool_max_size = 1  # 0 would be no limit
        super().on_headers_finished()

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
