"""What a worker needs of an engine, and an engine of its worker."""

from collections.abc import Callable, Sequence
from typing import Protocol

from danqing.core.errors import DanqingError
from danqing.core.images import ImageRef
from danqing.core.types import (
    ArtifactKind,
    DeviceStatus,
    EncodedPicture,
    GenerationRequest,
    LatentPicture,
    RawPicture,
)


class Observer(Protocol):
    """Who listens to an engine while it denoises. Called in the engine's thread."""

    def step_done(self, step: int, total_steps: int) -> None:
        """After each finished step, 1 ≤ step ≤ total_steps; an engine that tries again counts from 1 again."""
        ...

    def stopped(self) -> bool:
        """Asked before each step; once it is true, `denoise` returns None within that step.

        A GPU that was given the step already computes it to its end.
        """
        ...

    def wants_preview(self) -> bool:
        """Asked after each step but the last, before `step_done`."""
        ...

    def preview_made(self, step: int, total_steps: int, picture: EncodedPicture) -> None:
        """Called only where one is wanted: the picture as the model sees it coming, a small JPEG."""
        ...


class Unwatched:
    """An observer that nobody stands behind: for one picture alone, to its end."""

    def step_done(self, step: int, total_steps: int) -> None:
        """Told to nobody."""

    def stopped(self) -> bool:
        """Never."""
        return False

    def wants_preview(self) -> bool:
        """Never."""
        return False

    def preview_made(self, step: int, total_steps: int, picture: EncodedPicture) -> None:
        """Never called."""


ReadImage = Callable[[ImageRef], bytes]  # the PNG of an input image; raises ArtifactNotFound
Denoised = RawPicture | LatentPicture
Outcome = Denoised | DanqingError | None  # of one request: None once its observer has stopped it


class Engine(Protocol):
    """Models on one device, inside a worker process. Knows nothing of jobs.

    `denoise` is called from one thread only, one batch at a time; `finish`, `enlarge` and `encode` from another,
    while the next batch is already denoising. `to_enlarge`, `enlarge`, and the `encode` of what that made, may run in a
    third one, while the next picture is finished and encoded; a request of mode upscale is given to these three alone.
    Everything is blocking. Raises EngineFailure (OutOfMemory, ModelLoadFailure).
    """

    def load(self) -> None:
        """Brings the default model into memory and warms it up, and the others as there is room. Called once, first."""
        ...

    def device(self) -> DeviceStatus:
        """The device and its memory as of now; cheap, callable from any thread."""
        ...

    def denoise(
        self, requests: Sequence[GenerationRequest], *, read_image: ReadImage, observers: Sequence[Observer]
    ) -> Sequence[Outcome]:
        """Of each request the picture at the size the model makes (`sizes.plan_size`), computed or to be computed when
        it is finished; or why there is none.

        requests: at least one, all of the same `batching.batch_key`. observers: one a request, told of its picture
        alone. What is wrong with one request does not touch the others. The same request gives the same bytes when it
        is made alone, and the same picture, to rounding, when it is made with others.
        """
        ...

    def finish(self, raw: Denoised, request: GenerationRequest, *, read_image: ReadImage) -> RawPicture:
        """Computes it if that is still to be done, enlarges and crops it to exactly the size requested; where a mask
        keeps something, it is kept to the pixel.
        """
        ...

    def to_enlarge(self, request: GenerationRequest, *, read_image: ReadImage) -> RawPicture:
        """The picture that a request of mode upscale is about, in its own size; transparent parts are white."""
        ...

    def enlarge(self, picture: RawPicture, *, on_part: Callable[[int, int], None]) -> RawPicture:
        """Four times the size each way. on_part(part, parts) is called after each part, 1 ≤ part ≤ parts."""
        ...

    def encode(self, picture: RawPicture, request: GenerationRequest, kind: ArtifactKind) -> EncodedPicture:
        """The file of a finished, or enlarged, picture: PNG with the request in its metadata; WebP for a preview.

        The same input gives the same bytes.
        """
        ...
