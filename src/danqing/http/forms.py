"""How much of a form is taken. Files above 64 KiB go to the disk as they come; all else of a form is held in memory."""

from typing import TypedDict

from starlette.formparsers import MultiPartParser

MAX_FILES = 32
MAX_FIELDS = 64  # that are no files
MAX_FIELD_BYTES = 256 * 1024  # each
FILE_IN_MEMORY_BYTES = 64 * 1024


class FormLimits(TypedDict, total=False):
    """As starlette's `Request.form` takes them."""

    max_files: int
    max_fields: int
    max_part_size: int


# What FastAPI reads forms with; a route that reads one by itself does it with `request.form(**FORM_LIMITS)`.
FORM_LIMITS = FormLimits(max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)


def keep_files_on_disk() -> None:
    """For this process: starlette, which has no parameter for it, holds files of up to a megabyte in memory."""
    MultiPartParser.spool_max_size = FILE_IN_MEMORY_BYTES
