"""The pictures of a request, either way of sending them, one after another through the intake.

A mask says by its brightness what is made anew: white is, black is not, nor is what is transparent.
"""

from collections.abc import Mapping

from starlette.datastructures import UploadFile

from danqing.core.images import StagedImage
from danqing.dialects.genserve.schemas import ImageName
from danqing.http.json_pictures import SentPicture
from danqing.http.uploads import Staging

StagedInputs = Mapping[ImageName, StagedImage]
MASK: ImageName = "mask_image"


async def stage_sent(pictures: Mapping[ImageName, SentPicture], staging: Staging) -> StagedInputs:
    """Those of a JSON body."""
    return {
        name: await staging.sent(picture, parameter=name, as_mask=name == MASK) for name, picture in pictures.items()
    }


async def stage_files(files: Mapping[ImageName, UploadFile], staging: Staging) -> StagedInputs:
    """Files of a form."""
    return {name: await staging.upload(upload, parameter=name, as_mask=name == MASK) for name, upload in files.items()}
