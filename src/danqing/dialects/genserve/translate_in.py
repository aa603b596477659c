"""From GenServe's wire to the core. Pure."""

from collections.abc import Iterable, Mapping

from danqing.core.capabilities import ModelCard
from danqing.core.errors import MissingParameter, UnknownModel
from danqing.core.images import StagedImage
from danqing.core.orders import Order
from danqing.core.ports import ModelCatalogue
from danqing.core.submitting import Join
from danqing.core.types import Lora, Mode, RequestDraft
from danqing.dialects.genserve.schemas import (
    DEFAULT_CFG,
    DEFAULT_MODE,
    DEFAULT_MODEL,
    DEFAULT_SEED,
    DEFAULT_SIDE,
    DEFAULT_STEPS,
    DEFAULT_STRENGTH,
    ImageName,
    Wanted,
)

# What else is sent is ignored, so that a client may always send all that it has.
USED_IMAGES: Mapping[Mode, frozenset[ImageName]] = {
    Mode.TEXT2IMG: frozenset(),
    Mode.IMG2IMG: frozenset({"input_image"}),
    Mode.FILL: frozenset({"input_image", "mask_image"}),
    Mode.CONTROLNET: frozenset({"input_image", "control_image"}),
}


def model_meant(wanted: Wanted, catalogue: ModelCatalogue) -> ModelCard:
    """The client's model. If he names none: the document's default, or the server's where that is unknown.

    Raises UnknownModel.
    """
    mode = _mode(wanted)
    if wanted.model_id and "model_id" in wanted.model_fields_set:
        return catalogue.card(wanted.model_id, mode=mode)
    try:
        return catalogue.card(DEFAULT_MODEL, mode=mode)
    except UnknownModel:
        return catalogue.default(mode=mode)


def ignored_images(wanted: Wanted, sent: Iterable[ImageName]) -> list[ImageName]:
    """Those that the mode does not use."""
    return [name for name in sent if name not in USED_IMAGES[_mode(wanted)]]


def to_order(wanted: Wanted, card: ModelCard, images: Mapping[ImageName, StagedImage]) -> Order:
    """What is not given, or null, is the document's default. images: those that were sent; the mode's own are used.

    Raises MissingParameter.
    """
    if not wanted.prompt.strip():
        raise MissingParameter("prompt is required and must not be empty.", parameter="prompt")
    mode = _mode(wanted)
    images = {name: image for name, image in images.items() if name in USED_IMAGES[mode]}
    first = images.get("input_image")
    return Order(
        draft=RequestDraft(
            prompt=wanted.prompt,
            mode=mode,
            model=card.id,
            height=DEFAULT_SIDE if wanted.height is None else wanted.height,
            width=DEFAULT_SIDE if wanted.width is None else wanted.width,
            num_inference_steps=DEFAULT_STEPS if wanted.num_inference_steps is None else wanted.num_inference_steps,
            guidance_scale=_guidance(wanted, card, mode),
            seed=DEFAULT_SEED if wanted.seed is None else wanted.seed,
            strength=DEFAULT_STRENGTH if wanted.strength is None and mode is Mode.IMG2IMG else wanted.strength,
            input_images=() if first is None else (first,),
            mask=images.get("mask_image"),
            control_image=images.get("control_image"),
            control_preprocess=wanted.control_preprocess,
            controlnet_conditioning_scale=wanted.controlnet_conditioning_scale,
            loras=tuple(Lora(name=lora.name, scale=lora.scale) for lora in wanted.loras or ()),
            step_cache=wanted.step_cache,
        ),
        priority=wanted.priority or 0,
        join=Join.UNDER_WAY,
        attended=True,
    )


def _mode(wanted: Wanted) -> Mode:
    return Mode(wanted.mode or DEFAULT_MODE)


def _guidance(wanted: Wanted, card: ModelCard, mode: Mode) -> float | None:
    """None where the model knows no guidance and the client says only what he would have said of any model; and where
    he says nothing, and the mode has weights of its own, made for another guidance.
    """
    companion, says_it = card.companion(mode), "cfg" in wanted.model_fields_set and wanted.cfg is not None
    if not says_it and companion is not None and companion.guidance_scale is not None:
        return None
    cfg = DEFAULT_CFG if wanted.cfg is None else wanted.cfg
    return None if cfg == DEFAULT_CFG and not card.capabilities.guidance else cfg
