"""An engine that takes no time, or for ever: what is measured with it is the house around it, not the device."""

import io
import time
from collections.abc import Callable, Sequence

from PIL import Image

from danqing.core.engine_port import Observer, Outcome, ReadImage
from danqing.core.types import ArtifactKind, DeviceStatus, EncodedPicture, GenerationRequest, RawPicture

STEPS = 4


class FakeEngine:
    """Implements `core.engine_port.Engine`; makes flat pictures, or keeps its first job until it is stopped."""

    def __init__(self, is_idle: bool, *, step_s: float = 0.0) -> None:
        self._is_idle = is_idle
        self._step_s = step_s

    def load(self) -> None:
        """Nothing to load."""

    def device(self) -> DeviceStatus:
        """A made-up one."""
        return DeviceStatus(id="cpu", name="idle", kind="cpu")

    def denoise(
        self, requests: Sequence[GenerationRequest], *, read_image: ReadImage, observers: Sequence[Observer]
    ) -> Sequence[Outcome]:
        """A few steps, each told."""
        while self._is_idle:
            time.sleep(0.5)
            if all([observer.stopped() for observer in observers]):
                return [None] * len(requests)
        for step in range(1, STEPS + 1):
            if self._step_s:
                time.sleep(self._step_s)
            for observer in observers:
                observer.step_done(step, STEPS)
        return [RawPicture(width=1, height=1, rgb=bytes((request.seed % 256, 0, 0))) for request in requests]

    def finish(self, raw: RawPicture, request: GenerationRequest, *, read_image: ReadImage) -> RawPicture:
        """In the size that was asked for."""
        width, height = request.width, request.height
        return RawPicture(width=width, height=height, rgb=raw.rgb * (width * height))

    def to_enlarge(self, request: GenerationRequest, *, read_image: ReadImage) -> RawPicture:
        """Black, in the size of the picture."""
        width, height = request.input_images[0].size
        return RawPicture(width=width, height=height, rgb=bytes(3 * width * height))

    def enlarge(self, picture: RawPicture, *, on_part: Callable[[int, int], None]) -> RawPicture:
        """Four times, in one part."""
        on_part(1, 1)
        width, height = 4 * picture.width, 4 * picture.height
        return RawPicture(width=width, height=height, rgb=picture.rgb[:3] * (width * height))

    def encode(self, picture: RawPicture, request: GenerationRequest, kind: ArtifactKind) -> EncodedPicture:
        """PNG, or WebP for a preview."""
        file, kind_of_file = io.BytesIO(), "WEBP" if kind is ArtifactKind.PREVIEW else "PNG"
        Image.frombytes("RGB", (picture.width, picture.height), picture.rgb).save(file, kind_of_file)
        return EncodedPicture(
            width=picture.width,
            height=picture.height,
            media_type=f"image/{kind_of_file.lower()}",
            content=file.getvalue(),
        )
