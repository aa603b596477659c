"""The engine of Danqing that has the same made-up device as the peers (`peers/device.py`)."""

from collections.abc import Sequence

import numpy as np
from fake_engine import FakeEngine
from peers import device

from danqing.core.engine_port import Observer, Outcome, ReadImage
from danqing.core.types import ArtifactKind, EncodedPicture, GenerationRequest, RawPicture
from danqing.engine.codecs.png import MEDIA_TYPE, encode_png


class PacedEngine(FakeEngine):
    """The device's pictures, each after its time."""

    def denoise(
        self, requests: Sequence[GenerationRequest], *, read_image: ReadImage, observers: Sequence[Observer]
    ) -> Sequence[Outcome]:
        """One request, as there are no batches here."""
        ((request,), (observer,)) = requests, observers
        picture = device.make(request.seed, observer.step_done)
        return [RawPicture(width=picture.width, height=picture.height, rgb=picture.tobytes())]

    def finish(self, raw: RawPicture, request: GenerationRequest, *, read_image: ReadImage) -> RawPicture:
        """Of the size that was asked for, which is the device's."""
        return raw

    def encode(self, picture: RawPicture, request: GenerationRequest, kind: ArtifactKind) -> EncodedPicture:
        """PNG, without texts."""
        if kind is not ArtifactKind.ORIGINAL:
            return super().encode(picture, request, kind)
        rgb = np.frombuffer(picture.rgb, np.uint8).reshape(picture.height, picture.width, 3)
        return EncodedPicture(
            width=picture.width, height=picture.height, media_type=MEDIA_TYPE, content=encode_png(rgb, ())
        )
