"""An edit as it was sent: in a form of the vendor's, in OpenAI's form, or as OpenAI's JSON."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from danqing.core.errors import InvalidRequest, MissingParameter, NotSupported
from danqing.dialects.openai.bodies import read_fields, validated
from danqing.dialects.openai.errors import note_openai_form
from danqing.dialects.openai.parameters import EDITS, check_parameters, given_parameters
from danqing.dialects.openai.schemas import MAX_INPUT_IMAGES, Edit, EditBody, EditParameters, ImageReference
from danqing.dialects.openai.translate_in import check_prompt
from danqing.dialects.openai.uploads import EDIT_FORM_LIMITS, edit_files, is_openai_form, stray_files
from danqing.http.content_type import is_json
from danqing.http.dialect import Services
from danqing.http.json_pictures import PictureFields, SentPicture, json_body

# {"images": [{"image_url": "data:…"}], "mask": {"image_url": "data:…"}}; more than an edit may have are still read, so
# that what is wrong can be told in plain words.
_PICTURES = PictureFields(names=("image_url",), depths=(2, 3), most=2 * (MAX_INPUT_IMAGES + 1), only_urls=True)
_JSON_EDITS = {name: decision for name, decision in EDITS.items() if name != "image"}

SentImage = UploadFile | SentPicture


@dataclass(frozen=True, kw_only=True)
class SentEdit:
    """wire: without the pictures. images: each with what messages call it. together: one picture is made out of all of
    them; else each is edited on its own. mask: of the first. warnings: about parameters that are ignored.
    """

    wire: Edit
    images: Sequence[tuple[str, SentImage]]
    mask: tuple[str, SentImage] | None
    together: bool
    warnings: list[str]


@asynccontextmanager
async def sent_edit(request: Request, services: Services) -> AsyncGenerator[SentEdit]:
    """For the time in which its pictures are staged. Raises InvalidRequest, NotSupported, BodyTooSlow or
    StorageFailure.
    """
    if is_json(request.headers.get("content-type", "")):
        timeout_s = services.options.request_timeout_s
        async with json_body(request, services.artifacts, pictures=_PICTURES, timeout_s=timeout_s) as body:
            wire = validated(body.value, EditBody)
            if "images" not in wire.model_fields_set:  # it may be anybody's; the vendor's document says what is missing
                note_openai_form(request, meant=False)
            yield _of_json(wire, body.pictures)
        return
    async with request.form(**EDIT_FORM_LIMITS) as form:
        if is_openai_form(form):
            note_openai_form(request)
        yield _of_form(form)


def _of_form(form: FormData) -> SentEdit:
    files = edit_files(form)
    wire = read_fields(form, EditParameters)
    check_prompt(wire)
    given = given_parameters(wire) | dict.fromkeys(stray_files(form), True)
    return SentEdit(
        wire=wire,
        images=files.named(),
        mask=("mask", files.mask) if files.mask else None,
        together=files.together,
        warnings=check_parameters(given, EDITS),
    )


def _of_json(wire: EditBody, pictures: Mapping[str, SentPicture]) -> SentEdit:
    if not wire.images:
        raise MissingParameter("Image is required", parameter="images")
    check_prompt(wire)
    # What stands for a picture is another text each time, wherever in the body it was.
    constant = {name: _constant(value, pictures) for name, value in (wire.model_extra or {}).items()}
    return SentEdit(
        wire=wire.model_copy(update={"images": None, "mask": None, **constant}),
        images=[_referred(f"images[{place}]", image, pictures) for place, image in enumerate(wire.images)],
        mask=_referred("mask", wire.mask, pictures) if wire.mask else None,
        together=True,
        warnings=check_parameters(given_parameters(wire), _JSON_EDITS),
    )


def _constant(value: Any, pictures: Mapping[str, SentPicture], depth: int = max(_PICTURES.depths)) -> Any:  # noqa: ANN401
    """JSON, the same in each repetition of a request. depth: below which there are no pictures."""
    match value:
        case str():
            return "" if value in pictures else value
        case dict() if depth:
            members = cast("dict[str, Any]", value)
            return {name: _constant(each, pictures, depth - 1) for name, each in members.items()}
        case list() if depth:
            return [_constant(each, pictures, depth - 1) for each in cast("list[Any]", value)]
        case _:
            return value


def _referred(parameter: str, image: ImageReference, pictures: Mapping[str, SentPicture]) -> tuple[str, SentPicture]:
    if image.file_id:
        raise NotSupported(
            f"Not supported: {parameter}.file_id; no files are kept here, send a data URL in image_url.",
            parameter=f"{parameter}.file_id",
        )
    if (picture := pictures.get(image.image_url or "")) is None:
        raise InvalidRequest(f"{parameter}.image_url is required.", parameter=f"{parameter}.image_url")
    return f"{parameter}.image_url", picture
