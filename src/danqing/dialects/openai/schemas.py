"""OpenAI's and the vendor's wire models, in their field order and spelling.

What their documents leave open, and what is done here:
- Two forms of `POST /v1/images/edits`: the vendor's repeats `images`, a batch in which each picture is edited on its
  own; OpenAI's has `image` or `image[]`, out of which one picture is made. Both in one request are refused. OpenAI's
  JSON has its pictures in `images`, too, and means one picture out of all of them.
- null, and in a form an empty field, means "not given". In JSON a number must be a number.
- Fields that neither document has are ignored, with a warning (`parameters.py`).
- `quality` is told as asked for; where the choice is left to the server, `high`, the only one there is.
- `usage` counts tokens as `translate_out.py` says, beside the vendor's three figures.
Beyond the documents: `seed`, `num_inference_steps`, `guidance_scale`, `negative_prompt` and `step_cache` everywhere,
`loras` beside a prompt (in a form as JSON text, or as `loras[][name]` and `loras[][scale]`), `strength` where a picture
is begun with; `adjustments` of each picture; `url` for every model; `image_index` in a stream of several.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Json

MAX_VARIANTS = 10
MAX_INPUT_IMAGES = 16  # of OpenAI's form
MAX_BATCH_IMAGES = 100  # of the vendor's form, which knows no limit
MAX_PARTIAL_IMAGES = 3
MAX_LORAS = 8
MAX_LORA_SCALE = 4
DEFAULT_EDIT_SIZE = "1024x1024"  # of the vendor's form
DEFAULT_EDIT_STEPS = 50  # of the vendor's form

Variants = Annotated[int, Field(ge=1, le=MAX_VARIANTS)]
OutputFormat = Literal["png", "jpeg", "webp"]
StreamKind = Literal["image_generation", "image_edit"]
PartialType = Literal["image_generation.partial_image", "image_edit.partial_image"]
CompletedType = Literal["image_generation.completed", "image_edit.completed"]


class LoraEntry(BaseModel):
    """name: of a file in the server's folder, without `.safetensors`. scale: 1 is as it was trained."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str
    scale: float = Field(default=1.0, ge=-MAX_LORA_SCALE, le=MAX_LORA_SCALE, allow_inf_nan=False)


class FormLoraEntry(LoraEntry):
    """The same in a form, where a number may come as text."""

    scale: float = Field(default=1.0, ge=-MAX_LORA_SCALE, le=MAX_LORA_SCALE, allow_inf_nan=False, strict=False)


Loras = Annotated[list[LoraEntry], Field(max_length=MAX_LORAS)]
FormLoras = Annotated[list[FormLoraEntry], Field(max_length=MAX_LORAS)]


class _Parameters(BaseModel):
    """What every request may carry; None is "not given". Sizes in pixels, as `WIDTHxHEIGHT` or `auto`."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    model: str | None = None
    n: Variants | None = None
    response_format: Literal["url", "b64_json"] | None = None
    size: str | None = Field(
        default=None,
        examples=["1024x1024", "auto"],
        json_schema_extra={"pattern": r"^(auto|[1-9][0-9]{1,3}x[1-9][0-9]{1,3})$"},
    )
    user: str | None = None
    # Not OpenAI's.
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    num_inference_steps: int | None = Field(default=None, ge=1)
    guidance_scale: float | None = Field(default=None, ge=0)
    negative_prompt: str | None = None
    step_cache: float | None = Field(
        default=None, ge=0, le=1, description="How large a change may be for a step to be cut short; 0 is off."
    )


class _PromptedParameters(_Parameters):
    """What generations and edits share."""

    prompt: str | None = Field(default=None, description="Required.", examples=["a beautiful landscape"])
    background: Literal["transparent", "opaque", "auto"] | None = None
    complexity: Literal["low", "medium", "high"] | None = None
    frame_count: int | None = None
    frame_duration_ms: int | None = None
    output_compression: int | None = Field(default=None, ge=0, le=100, description="Of jpeg and webp; 100 is best.")
    output_format: Literal["png", "jpeg", "webp", "gif", "svg"] | None = None
    partial_images: int | None = Field(default=None, ge=0, le=MAX_PARTIAL_IMAGES)
    quality: Literal["low", "medium", "high", "xhigh", "max", "auto", "standard", "hd"] | None = None
    safety_identifier: str | None = None
    stream: bool | None = None
    svg: dict[str, Any] | None = None


class GenerationParameters(_PromptedParameters):
    """Body of `POST /v1/images/generations`."""

    moderation: Literal["low", "auto"] | None = None
    style: Literal["vivid", "natural"] | None = None
    loras: Loras | None = None


class _EditParameters(_PromptedParameters):
    """What both ways of asking share. strength: 0 (the picture stays) to 1 (nothing of it does)."""

    input_fidelity: Literal["high", "low"] | None = None
    strength: float | None = Field(default=None, ge=0, le=1)


class EditParameters(_EditParameters):
    """Fields of the form of `POST /v1/images/edits`, its files apart."""

    loras: Json[FormLoras] | None = Field(default=None, examples=['[{"name": "ink", "scale": 0.8}]'])


class ImageReference(BaseModel):
    """A picture in a JSON body. image_url: a data URL, `data:image/png;base64,…`. file_id: refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    image_url: str | None = Field(default=None, examples=["data:image/png;base64,iVBORw0KGgo="])
    file_id: str | None = None


class EditBody(_EditParameters):
    """JSON body of `POST /v1/images/edits`. images: one picture is made out of all of them. mask: of the first; what is
    transparent in it is made anew.
    """

    images: Annotated[list[ImageReference], Field(max_length=MAX_INPUT_IMAGES)] | None = Field(
        default=None, description="Required."
    )
    mask: ImageReference | None = None
    loras: Loras | None = None


Edit = EditParameters | EditBody


class VariationParameters(_Parameters):
    """Fields of the form of `POST /v1/images/variations`, its file apart. strength: as for edits."""

    strength: float | None = Field(default=None, ge=0, le=1)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputTokens(_Answer):
    """Of all input, by kind."""

    image_tokens: int
    text_tokens: int


class OutputTokens(_Answer):
    """Of all output, by kind."""

    image_tokens: int
    text_tokens: int


class Usage(_Answer):
    """The vendor's figures, then OpenAI's."""

    processing_time_seconds: float
    input_images: int
    generated_images: int
    input_tokens: int
    input_tokens_details: InputTokens
    output_tokens: int
    output_tokens_details: OutputTokens
    total_tokens: int


class Picture(_Answer):
    """Either of the first two."""

    b64_json: str | None = None
    url: str | None = None
    adjustments: list[str] | None = None


class ImagesAnswer(_Answer):
    """All pictures of a request; `size` of the first. safety_identifier: that of the request, or its `user`."""

    created: int
    data: list[Picture]
    background: Literal["opaque"]
    output_format: OutputFormat
    quality: str
    size: str
    usage: Usage
    safety_identifier: str | None = None


class PartialImage(_Answer):
    """A stream's event: the picture as it is coming. partial_image_index counts from 0 within one picture."""

    type: PartialType
    b64_json: str
    background: Literal["opaque"]
    created_at: int
    output_format: OutputFormat
    partial_image_index: int
    quality: str
    size: str
    image_index: int | None = None


class CompletedImage(_Answer):
    """A stream's event: a finished picture. safety_identifier: that of the request, or its `user`."""

    type: CompletedType
    b64_json: str
    background: Literal["opaque"]
    created_at: int
    output_format: OutputFormat
    quality: str
    size: str
    usage: Usage
    safety_identifier: str | None = None
    image_index: int | None = None
    adjustments: list[str] | None = None


class ModelEntry(_Answer):
    """A name under which a model is served. root: the model's own id."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    root: str


class ModelList(_Answer):
    """Every name that is told."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]


class Health(_Answer):
    """timestamp: UTC, without an offset."""

    status: Literal["healthy"]
    timestamp: str
    version: str


class Ready(_Answer):
    """timestamp: UTC, without an offset."""

    status: Literal["ready"] = "ready"
    model_loaded: bool
    timestamp: str


class NotReady(_Answer):
    """Of `GET /ready` alone."""

    error: Literal["MODEL_NOT_READY"] = "MODEL_NOT_READY"
    message: str


class VendorError(_Answer):
    """What the vendor's clients read: its code, and what it means here."""

    error: str
    message: str


class OpenAIErrorDetail(_Answer):
    """code: the vendor's, or OpenAI's where it has a better one. param: the wrong parameter, if one is."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(_Answer):
    """What OpenAI's clients read."""

    error: OpenAIErrorDetail
