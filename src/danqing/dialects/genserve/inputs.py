"""The pictures of a request, either way of sending them, one after another through the intake."""

from collections.abc import Mapping

from starlette.datastructures import UploadFile

from danqing.core.images import StagedImage
from danqing.dialects.genserve.schemas import ImageName
from danqing.http.uploads import Staging

StagedInputs = Mapping[ImageName, StagedImage]


async def stage_texts(texts: dict[ImageName, str], staging: Staging) -> StagedInputs:
    """Base64 of a JSON body; each text is taken out of texts, and so out of memory, once it is a picture."""
    return {name: await staging.base64(texts.pop(name), parameter=name) for name in tuple(texts)}


async def stage_files(files: Mapping[ImageName, UploadFile], staging: Staging) -> StagedInputs:
    """Files of a form."""
    return {name: await staging.upload(upload, parameter=name) for name, upload in files.items()}
