"""Reads the form of `POST /generate/img2img`: texts, numbers written as text, and files that lie on the disk."""

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from danqing.core.errors import InvalidRequest
from danqing.dialects.genserve.echo import Echo, echoing
from danqing.dialects.genserve.schemas import FLOATS, IMAGE_NAMES, INTEGERS, JSON_TEXTS, ImageName, Wanted
from danqing.http.forms import MAX_FIELD_BYTES, MAX_FIELDS, MAX_TEXT_BYTES, FormLimits
from danqing.http.json_members import check_members

_LIMITS = FormLimits(max_files=len(IMAGE_NAMES), max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)
_FORM_TYPES = ("multipart/form-data", "application/x-www-form-urlencoded")
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_FLOAT = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,4})?")


@dataclass(frozen=True, kw_only=True)
class ReadForm:
    """files: those that were sent, by field."""

    wanted: Wanted
    files: dict[ImageName, UploadFile]


@asynccontextmanager
async def read_form(request: Request) -> AsyncGenerator[ReadForm]:
    """The form; its files are gone after the context. Raises InvalidRequest or RequestValidationError."""
    form = await _received(request)
    try:
        with echoing(Echo.of_body(dict(form))):
            read = _read(form)
        yield read
    finally:
        await form.close()


def _read(form: FormData) -> ReadForm:
    given = {name: value for name, value in _once(form).items() if not _is_empty(value)}
    files: dict[ImageName, UploadFile] = {name: _file(name, given.pop(name)) for name in IMAGE_NAMES if name in given}
    return ReadForm(wanted=_validated(given), files=files)


async def _received(request: Request) -> FormData:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _FORM_TYPES:
        raise InvalidRequest("The body must be multipart/form-data; JSON goes to /generate.")
    try:
        return await request.form(**_LIMITS)
    except (HTTPException, ValueError) as exc:
        if isinstance(exc, HTTPException) and exc.status_code != 400:
            raise
        raise InvalidRequest(
            f"The form cannot be read. It may have {len(IMAGE_NAMES)} files and {MAX_FIELDS} other "
            f"fields of up to {MAX_FIELD_BYTES // 1024} KiB, {MAX_TEXT_BYTES // 1024} KiB together, in UTF-8."
        ) from exc


def _once(form: FormData) -> dict[str, str | UploadFile]:
    """Each known field with its only value."""
    fields: dict[str, str | UploadFile] = {}
    for name, value in form.multi_items():
        known = name in Wanted.model_fields or name in IMAGE_NAMES
        if name in fields:
            raise InvalidRequest(f"{name} is given more than once.", parameter=name)
        if known:
            fields[name] = value
    return fields


def _is_empty(value: str | UploadFile) -> bool:
    """As a browser sends a field that was left alone."""
    return value == "" if isinstance(value, str) else not value.filename and not value.size


def _file(name: str, value: str | UploadFile) -> UploadFile:
    if isinstance(value, str):
        raise InvalidRequest(f"{name} must be an uploaded file; base64 goes to /generate.", parameter=name)
    return value


def _validated(given: dict[str, str | UploadFile]) -> Wanted:
    texts: dict[str, object] = {}
    for name, value in given.items():
        if not isinstance(value, str):
            raise InvalidRequest(f"{name} must be text, not a file.", parameter=name)
        texts[name] = _read_text(name, value)
    try:
        return Wanted.model_validate(texts)
    except ValidationError as exc:
        problems = [{**problem, "loc": ("body", *problem["loc"])} for problem in exc.errors(include_url=False)]
        raise RequestValidationError(problems, body=texts) from exc


def _read_text(name: str, text: str) -> object:
    if name in INTEGERS or name in FLOATS:
        return _number(text)
    if name not in JSON_TEXTS:
        return text
    check_members(text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidRequest(f"{name} must be JSON.", parameter=name) from exc


def _number(text: str) -> int | float | str:
    """What is no number stays text, which the wire model refuses."""
    text = text.strip()
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
