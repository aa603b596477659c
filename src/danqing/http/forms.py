"""How much of a form is taken. Files above 1 MiB go to the disk as they come; all else of a form is held in memory."""

from typing import TypedDict

MAX_FILES = 32
MAX_FIELDS = 64  # that are no files
MAX_FIELD_BYTES = 256 * 1024  # each


class FormLimits(TypedDict, total=False):
    """As starlette's `Request.form` takes them."""

    max_files: int
    max_fields: int
    max_part_size: int


# What FastAPI reads forms with; a route that reads one by itself does it with `request.form(**FORM_LIMITS)`.
FORM_LIMITS = FormLimits(max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)
