"""The studio's wire models. It is Danqing's own API: fields have the names that the core gives them.

Seeds are told as text, for JavaScript's numbers end at 2**53; they are taken as text or as numbers.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from danqing.core.resolve import MAX_LORAS, MAX_SEED
from danqing.core.types import ArtifactKind, ControlPreprocess, Mode

MAX_COUNT = 16  # pictures of one batch


def _number(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20 else value


class LoraWanted(BaseModel):
    """scale: 1 is as it was trained."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str
    scale: float = Field(default=1.0, allow_inf_nan=False)


class Wanted(BaseModel):
    """What is to be made, the JSON text of the form's field `request`; null is the model's default.

    count: so many pictures, each with the seed after the one before, or with a drawn one. upscale: an enlarged copy
    of each as well. mode upscale: the input image itself, enlarged, once; what it is found by may be said as its
    prompt, and nothing else. prompt: may be left out in this mode and in img2img only.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str = ""
    mode: Mode = Mode.TEXT2IMG
    model: str | None = None
    negative_prompt: str | None = None
    width: int | None = None
    height: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = Field(default=None, allow_inf_nan=False)
    seed: Annotated[int, Field(ge=0, le=MAX_SEED), BeforeValidator(_number)] | None = None
    count: int = Field(default=1, ge=1, le=MAX_COUNT)
    strength: float | None = Field(default=None, allow_inf_nan=False)
    control_preprocess: ControlPreprocess | None = None
    controlnet_conditioning_scale: float | None = Field(default=None, allow_inf_nan=False)
    loras: list[LoraWanted] = Field(default=[], max_length=MAX_LORAS)
    step_cache: float | None = Field(default=None, allow_inf_nan=False)
    upscale: bool = False


class BatchForm(BaseModel):
    """Body of `POST /studio/batches`, for its description only: `forms.py` reads it."""

    request: Wanted
    input_image: list[str] | None = Field(default=None, json_schema_extra={"items": {"format": "binary"}})
    mask_image: str | None = Field(default=None, json_schema_extra={"format": "binary"})
    control_image: str | None = Field(default=None, json_schema_extra={"format": "binary"})


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SentenceView(_Answer):
    """What a sentence says, for programs that say it in another language: see `core/sentences.py`."""

    code: str
    values: dict[str, str]


class Problem(_Answer):
    """parameter: what of the request is wrong, if that is known. sentence: what the message says; None for one that is
    told in English only.
    """

    code: str
    message: str
    parameter: str | None = None
    sentence: SentenceView | None = None


class ErrorAnswer(_Answer):
    """Every error."""

    error: Problem


class PictureView(_Answer):
    """url: for an `<img>` tag; works without a key for an hour at least."""

    url: str
    media_type: str
    width: int
    height: int
    size_bytes: int | None = None


class LoraView(_Answer):
    """As it was asked for."""

    name: str
    scale: float


class InputsView(_Answer):
    """The pictures that the job starts from."""

    input_images: list[PictureView]
    mask: PictureView | None
    control_image: PictureView | None


class NoteView(_Answer):
    """How the request was honoured. sentence: as in `Problem`."""

    text: str
    sentence: SentenceView | None


class FailureView(_Answer):
    """Why there is no picture. sentence: as in `Problem`."""

    code: str
    message: str
    sentence: SentenceView | None


class RequestView(_Answer):
    """The whole request, as it was resolved."""

    prompt: str
    negative_prompt: str
    mode: Mode
    model: str
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    seed: str
    strength: float | None
    control_preprocess: str | None
    controlnet_conditioning_scale: float | None
    loras: list[LoraView]
    step_cache: float | None
    upscale: bool


class JobView(_Answer):
    """queue_position: 1 for the one that is next; 0 for one that does not wait, and in lists. attempts: so far.

    notes: the adjustments, with what each says.
    """

    id: str
    batch_id: str
    index: int
    state: Literal["pending", "processing", "generated", "completed", "failed", "cancelled"]
    queue_position: int
    request: RequestView
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempts: int
    adjustments: list[str]
    notes: list[NoteView]
    failure: FailureView | None
    pictures: dict[ArtifactKind, PictureView]
    inputs: InputsView


class BatchView(_Answer):
    """owner: told to who sees several owners' batches."""

    id: str
    created_at: datetime
    size: int
    owner: str | None
    jobs: list[JobView]


class BatchPage(_Answer):
    """batches: newest first. next_offset: of the page after this one; None at the end."""

    batches: list[BatchView]
    next_offset: int | None


class SizesView(_Answer):
    """Which sizes the model makes itself; others are scaled to. trained: all of them, else any multiple."""

    multiple_of: int | None
    max_pixels: int | None
    trained: list[tuple[int, int]]


class DefaultsView(_Answer):
    """What is filled in for what is not said. guidance_scale, conditioning_scale by mode: where they are others."""

    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    strength: float
    mode_guidance_scale: dict[Mode, float]
    controlnet_conditioning_scale: float | None


class ModelView(_Answer):
    """A model on offer, and which settings it honours. loaded: it is in some worker's memory."""

    id: str
    title: str
    family: str
    licence: str | None
    loaded: bool
    modes: list[Mode]
    min_side: int
    max_side: int
    min_steps: int
    max_steps: int
    sizes: SizesView
    guidance: bool
    negative_prompt: bool
    instruction_edit: bool
    step_cache: bool
    max_input_images: int
    max_prompt_chars: int
    loras: list[str]
    defaults: DefaultsView


class CallerView(_Answer):
    """Who asks. sees_all: everybody's pictures, not only his own. manages_keys: he may issue and revoke keys."""

    owner: str
    sees_all: bool
    manages_keys: bool


class UpscalerView(_Answer):
    """Pictures of at most max_side pixels a side become factor times as large each way."""

    factor: int
    max_side: int


class ModelList(_Answer):
    """models: the default first. upscaler: None while no worker has one. caller: who asks."""

    models: list[ModelView]
    upscaler: UpscalerView | None
    caller: CallerView
