"""Reads the form of `POST /studio/batches`: the request as JSON, and its pictures as files."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from danqing.core.errors import InvalidRequest, MissingParameter
from danqing.dialects.studio.schemas import Wanted
from danqing.dialects.studio.translate_in import Inputs
from danqing.http.forms import FORM_LIMITS
from danqing.http.json_members import check_members
from danqing.http.uploads import Staging

IMAGE_FIELDS = ("input_image", "mask_image", "control_image")


@dataclass(frozen=True, kw_only=True)
class ReadForm:
    """files: by field, in the order of sending."""

    wanted: Wanted
    files: dict[str, list[UploadFile]]


@asynccontextmanager
async def read_form(request: Request) -> AsyncGenerator[ReadForm]:
    """The form; its files are gone after the context. Raises InvalidRequest or RequestValidationError."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise InvalidRequest("The body must be multipart/form-data.")
    async with request.form(**FORM_LIMITS) as form:
        yield ReadForm(wanted=_wanted(form), files={name: _files(form, name) for name in IMAGE_FIELDS})


async def staged(files: dict[str, list[UploadFile]], staging: Staging) -> Inputs:
    """The checked pictures. Raises as `Staging.upload` does."""
    by_field = {name: [await staging.upload(file, parameter=name) for file in sent] for name, sent in files.items()}
    mask, control = by_field["mask_image"], by_field["control_image"]
    return Inputs(
        input_images=tuple(by_field["input_image"]),
        mask=mask[0] if mask else None,
        control_image=control[0] if control else None,
    )


def _wanted(form: FormData) -> Wanted:
    texts = form.getlist("request")
    if len(texts) != 1 or not isinstance(texts[0], str):
        raise MissingParameter("The form needs one field request, which is JSON.", parameter="request")
    check_members(texts[0])
    try:
        return Wanted.model_validate_json(texts[0])
    except ValidationError as exc:
        problems = [{**problem, "loc": ("request", *problem["loc"])} for problem in exc.errors(include_url=False)]
        raise RequestValidationError(problems) from exc


def _files(form: FormData, name: str) -> list[UploadFile]:
    values = form.getlist(name)
    files = [value for value in values if isinstance(value, UploadFile)]
    if len(files) < len(values):
        raise InvalidRequest(f"{name} must be a file.", parameter=name)
    if len(files) > 1 and name != "input_image":
        raise InvalidRequest(f"{name} is given more than once.", parameter=name)
    return files
