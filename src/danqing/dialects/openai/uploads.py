"""Which files of a form are which."""

import re
from dataclasses import dataclass

from starlette.datastructures import FormData, UploadFile

from danqing.core.errors import InvalidImage, InvalidRequest, MissingParameter, ParameterOutOfRange
from danqing.dialects.openai.schemas import MAX_BATCH_IMAGES, MAX_INPUT_IMAGES
from danqing.http.forms import FORM_LIMITS, FormLimits

# More files than an edit may have are still read, so that what is wrong can be told in plain words.
EDIT_FORM_LIMITS = FORM_LIMITS | FormLimits(max_files=2 * MAX_BATCH_IMAGES)

_MASK = ("mask", "mask[]")
_FIELD = re.compile(r"(image|images)(?:\[\d*\])?", re.ASCII)  # clients write lists in several ways


@dataclass(frozen=True, kw_only=True)
class EditFiles:
    """The files of an edit. together: OpenAI's form, one picture out of all images; else each is edited on its own."""

    images: tuple[UploadFile, ...]
    mask: UploadFile | None
    together: bool

    def named(self) -> list[tuple[str, UploadFile]]:
        """The images, each with what messages call it: its field, and its place if there are several."""
        field = "image" if self.together else "images"
        several = len(self.images) > 1
        return [(f"{field}[{place}]" if several else field, image) for place, image in enumerate(self.images)]


def edit_files(form: FormData) -> EditFiles:
    """Sorts out which form it is. Raises InvalidRequest for both at once, none, or too many."""
    one_each, together = _images(form, "images"), _images(form, "image")
    if one_each and together:
        raise InvalidRequest("Send either image or images, not both.", parameter="image")
    images = one_each or together
    if not images:
        raise MissingParameter("Image is required", parameter="image")
    most = MAX_BATCH_IMAGES if one_each else MAX_INPUT_IMAGES
    if len(images) > most:
        raise ParameterOutOfRange(f"At most {most} images in one request.", parameter="image")
    mask = _file(form, *_MASK)
    if mask is not None and len(one_each) > 1:
        raise InvalidRequest("A mask goes with one image, or with images sent as image[].", parameter="mask")
    return EditFiles(images=tuple(images), mask=mask, together=not one_each)


def variation_file(form: FormData) -> UploadFile:
    """The one picture. Raises InvalidRequest."""
    images = _images(form, "image")
    if not images:
        raise MissingParameter("Image is required", parameter="image")
    if len(images) > 1:
        raise InvalidRequest("Variations are made of one image.", parameter="image")
    return images[0]


def is_openai_form(form: FormData) -> bool:
    """Whether an edit's pictures are named as OpenAI names them."""
    return any((match := _FIELD.fullmatch(name)) is not None and match[1] == "image" for name in form)


def stray_files(form: FormData) -> list[str]:
    """Names of files that are no part of an edit."""
    return [
        name
        for name, value in form.multi_items()
        if isinstance(value, UploadFile)
        and (value.filename or value.size)
        and _FIELD.fullmatch(name) is None
        and name not in _MASK
    ]


def _images(form: FormData, name: str) -> list[UploadFile]:
    files: list[UploadFile] = []
    for field, value in form.multi_items():
        match = _FIELD.fullmatch(field)
        if match is None or match[1] != name:
            continue
        if not isinstance(value, UploadFile):
            if value:
                raise InvalidImage(f"{name} must be a file.", parameter=name)
            continue
        if not value.filename and not value.size:
            continue  # what a browser sends for a file field that was left empty
        files.append(value)
    return files


def _file(form: FormData, name: str, *or_name: str) -> UploadFile | None:
    values = [value for each in (name, *or_name) for value in form.getlist(each) if value]
    if not values:
        return None
    if len(values) > 1:
        raise InvalidRequest(f"{name} is given more than once.", parameter=name)
    if not isinstance(values[0], UploadFile):
        raise InvalidImage(f"{name} must be a file.", parameter=name)
    if not values[0].filename and not values[0].size:
        return None
    return values[0]
