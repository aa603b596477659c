"""From the wire to orders for the core. Pure, but for the ids of batches, which are given."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from danqing.core.batches import BatchPlace
from danqing.core.capabilities import ModelCard
from danqing.core.errors import InvalidImage, InvalidRequest, MissingParameter
from danqing.core.images import StagedImage
from danqing.core.orders import Order
from danqing.core.submitting import Join
from danqing.core.types import Lora, Mode, RequestDraft
from danqing.dialects.openai.schemas import (
    DEFAULT_EDIT_SIZE,
    DEFAULT_EDIT_STEPS,
    Edit,
    GenerationParameters,
    OutputFormat,
    VariationParameters,
)
from danqing.dialects.openai.sizes import AUTO, parse_size, size_like

VARIATION_STRENGTH = 0.6
DEFAULT_VARIATION_SIZE = "1024x1024"
BEST_COMPRESSION = 100
MODEL_MASKED_BY_ITSELF = "dall-e-2"  # OpenAI had it so for this one: without a mask, what is transparent is made anew
MODELS_BY_ADDRESS = frozenset({"dall-e-2", "dall-e-3"})  # OpenAI answered `url` for these unless told otherwise


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How pictures are handed over. quality: as it is told. compression: 0 to 100, of jpeg and webp."""

    output_format: OutputFormat
    compression: int
    as_url: bool
    quality: str


def check_prompt(wire: GenerationParameters | Edit) -> None:
    """Before anything is done for the request. Raises MissingParameter."""
    if not (wire.prompt or "").strip():
        raise MissingParameter("Prompt is required", parameter="prompt")


def generation_draft(wire: GenerationParameters) -> RequestDraft:
    """`auto`, and no size, is the model's own."""
    size = parse_size(wire.size or AUTO)
    return _sized(_draft(wire, prompt=wire.prompt or "", mode=Mode.TEXT2IMG), size)


def meant_mask(
    wire: Edit, images: Sequence[StagedImage], mask: StagedImage | None, *, together: bool
) -> StagedImage | None:
    """What is transparent in it is made anew; None: the whole picture is. mask: that was sent. Raises InvalidImage."""
    if mask is not None and not mask.has_alpha:
        raise InvalidImage(
            "The mask has no transparent part; what is transparent in it is what is made anew.", parameter="mask"
        )
    if mask is None and together and wire.model == MODEL_MASKED_BY_ITSELF and images[0].has_alpha:
        return images[0]
    return mask


def edit_drafts(
    wire: Edit,
    images: Sequence[StagedImage],
    mask: StagedImage | None,
    *,
    together: bool,
    card: ModelCard,
) -> list[RequestDraft]:
    """One for each picture that `n` is counted of. mask: of the first image, see `meant_mask`."""
    draft = replace(_draft(wire, prompt=wire.prompt or "", mode=Mode.EDIT), strength=wire.strength)
    if not together:
        steps = draft.num_inference_steps or min(DEFAULT_EDIT_STEPS, card.capabilities.steps.maximum)
        return [
            _sized(
                replace(draft, input_images=(image,), mask=mask, num_inference_steps=steps),
                _size(wire.size or DEFAULT_EDIT_SIZE, image, card),
            )
            for image in images
        ]
    return [_sized(replace(draft, input_images=tuple(images), mask=mask), _size(wire.size or AUTO, images[0], card))]


def variation_draft(wire: VariationParameters, image: StagedImage, *, card: ModelCard) -> RequestDraft:
    """The picture is begun with, and no prompt says where to go."""
    strength = VARIATION_STRENGTH if wire.strength is None else wire.strength
    draft = replace(_draft(wire, prompt="", mode=Mode.IMG2IMG), input_images=(image,), strength=strength)
    return _sized(draft, _size(wire.size or DEFAULT_VARIATION_SIZE, image, card))


def orders_of(drafts: Sequence[RequestDraft], *, variants: int, batch_id: str) -> list[Order]:
    """Each draft's variants side by side, in one batch if there are several. A given seed counts up with them."""
    total = len(drafts) * variants
    return [
        Order(
            draft=draft if draft.seed is None else replace(draft, seed=draft.seed + variant),
            batch=BatchPlace(id=batch_id, index=index * variants + variant, size=total) if total > 1 else None,
            join=Join.UNDER_WAY,
            attended=True,
        )
        for index, draft in enumerate(drafts)
        for variant in range(variants)
    ]


def delivery_of(wire: GenerationParameters | Edit | VariationParameters) -> Delivery:
    """Raises InvalidRequest for what does not go together."""
    as_url = _as_url(wire)
    if isinstance(wire, VariationParameters):
        return Delivery(output_format="png", compression=BEST_COMPRESSION, as_url=as_url, quality="high")
    compression = BEST_COMPRESSION if wire.output_compression is None else wire.output_compression
    output_format = "png" if wire.output_format in (None, "gif", "svg") else wire.output_format
    if output_format == "png" and compression != BEST_COMPRESSION:
        raise InvalidRequest("output_compression is for jpeg and webp.", parameter="output_compression")
    if wire.stream and wire.response_format == "url":
        raise InvalidRequest("A stream carries b64_json only.", parameter="response_format")
    if wire.partial_images and not wire.stream:
        raise InvalidRequest("partial_images needs stream.", parameter="partial_images")
    return Delivery(
        output_format=output_format,
        compression=compression,
        as_url=as_url and not wire.stream,
        quality=_told_quality(wire.quality),
    )


def _as_url(wire: GenerationParameters | Edit | VariationParameters) -> bool:
    """As it was asked for; else as it is usual for the model of that name."""
    if wire.response_format is None:
        return wire.model in MODELS_BY_ADDRESS
    return wire.response_format == "url"


def _told_quality(asked: str | None) -> str:
    """In the words that OpenAI's answers have."""
    words = {"standard": "medium", "hd": "high", "auto": "high", None: "high"}
    return words.get(asked, asked or "high")


def _draft(wire: GenerationParameters | Edit | VariationParameters, *, prompt: str, mode: Mode) -> RequestDraft:
    loras = () if isinstance(wire, VariationParameters) else wire.loras or ()
    return RequestDraft(
        prompt=prompt,
        mode=mode,
        model=wire.model or None,
        negative_prompt=wire.negative_prompt,
        num_inference_steps=wire.num_inference_steps,
        guidance_scale=wire.guidance_scale,
        seed=wire.seed,
        loras=tuple(Lora(name=lora.name, scale=lora.scale) for lora in loras),
        step_cache=wire.step_cache,
    )


def _size(text: str, image: StagedImage, card: ModelCard) -> tuple[int, int]:
    return parse_size(text) or size_like((image.width, image.height), card)


def _sized(draft: RequestDraft, size: tuple[int, int] | None) -> RequestDraft:
    return draft if size is None else replace(draft, width=size[0], height=size[1])
