"""`danqing serve` with the same made-up device that the peers have: `python paced_server.py`, settings as ever.

PEER_DELAY_S, PEER_STEPS, PEER_SIDE and PEER_STEPS_NOTED_IN as in `peers/device.py`. Pictures are written by Danqing's
own codec.
"""

from collections.abc import Sequence

import numpy as np
from fake_server import FakeEngine
from peers import device

from danqing.cli.options import settings_from
from danqing.cli.serve import run_server
from danqing.core.engine_port import Observer, Outcome, ReadImage
from danqing.core.types import ArtifactKind, EncodedPicture, GenerationRequest, RawPicture
from danqing.engine.codecs.png import MEDIA_TYPE, encode_png
from danqing.workers.factory import EngineFactory


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


def main() -> None:
    """Runs until a signal."""
    run_server(settings_from(), engine=EngineFactory(target="paced_server:PacedEngine", argument=False))


if __name__ == "__main__":
    main()
