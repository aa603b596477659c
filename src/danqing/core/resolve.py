"""Turns what a client said into a complete request, or says what is wrong with it. Pure, but for the dice."""

import re
import secrets
from collections.abc import Callable, Sequence

from danqing.core.capabilities import Capabilities, ModelCard, Range
from danqing.core.errors import InvalidImage, InvalidRequest, MissingParameter, NotSupported, ParameterOutOfRange
from danqing.core.images import ref_of
from danqing.core.sentences import says
from danqing.core.types import GenerationRequest, Lora, Mode, RequestDraft
from danqing.core.upscaling import upscale_request

SEED_BITS = 32  # drawn seeds; clients may send up to MAX_SEED
MAX_SEED = 2**63 - 1
MAX_GUIDANCE = 100
MAX_CONDITIONING = 2
MAX_STEP_CACHE = 1
MAX_LORAS = 8  # of one picture
MAX_LORA_SCALE = 4.0  # and as much below 0
MAX_LORA_NAME = 255  # characters
SHOWN_LORAS = 50  # names told to who asked for one that there is not
_HALF_PAIR = re.compile("[\ud800-\udfff]")
HAS_STRENGTH = frozenset({Mode.IMG2IMG, Mode.FILL, Mode.CONTROLNET, Mode.EDIT})  # begins with an image, or may


def draw_seed() -> int:
    """A random seed, small enough for every client language."""
    return secrets.randbits(SEED_BITS)


def resolve(draft: RequestDraft, card: ModelCard, *, draw: Callable[[], int] = draw_seed) -> GenerationRequest:
    """Fills in the model's defaults and a seed, and checks everything against the model's capabilities.

    Raises MissingParameter, ParameterOutOfRange, InvalidImage or NotSupported, each naming the parameter.
    """
    can, defaults = card.capabilities, card.defaults
    if draft.mode is Mode.UPSCALE and Mode.UPSCALE in can.modes:
        _check_text("prompt", draft.prompt, can.max_prompt_chars)
        return upscale_request(draft)
    if not draft.prompt.strip() and draft.mode not in (Mode.IMG2IMG, Mode.UPSCALE):
        raise MissingParameter(says("needs_words"), parameter="prompt")
    _check_text("prompt", draft.prompt, can.max_prompt_chars)
    _check_text("negative_prompt", draft.negative_prompt or "", can.max_prompt_chars)
    _check_support(draft, card)
    _check_images(draft, can)
    _check_control(draft)
    seed = draw() if draft.seed is None else draft.seed
    if not 0 <= seed <= MAX_SEED:
        raise ParameterOutOfRange(says("between", parameter="seed", least=0, most=MAX_SEED), parameter="seed")
    if draft.max_sequence_length is not None:
        _within("max_sequence_length", draft.max_sequence_length, 0, can.sequence_length)
    return GenerationRequest(
        model=card.id,
        mode=draft.mode,
        prompt=draft.prompt,
        negative_prompt=draft.negative_prompt or "",
        width=_within("width", draft.width, defaults.width, can.side),
        height=_within("height", draft.height, defaults.height, can.side),
        num_inference_steps=_within(
            "num_inference_steps", draft.num_inference_steps, defaults.num_inference_steps, can.steps
        ),
        guidance_scale=_share("guidance_scale", draft.guidance_scale, _usual_guidance(draft, card), MAX_GUIDANCE),
        seed=seed,
        strength=_strength(draft, card),
        input_images=tuple(ref_of(image) for image in draft.input_images),
        mask=ref_of(draft.mask) if draft.mask else None,
        control_image=ref_of(draft.control_image) if draft.control_image else None,
        cfg_normalization=_optional_share("cfg_normalization", draft.cfg_normalization, MAX_GUIDANCE),
        cfg_truncation=_optional_share("cfg_truncation", draft.cfg_truncation, 1),
        max_sequence_length=draft.max_sequence_length,
        control_preprocess=draft.control_preprocess,
        controlnet_conditioning_scale=_optional_share(
            "controlnet_conditioning_scale", draft.controlnet_conditioning_scale, MAX_CONDITIONING
        ),
        loras=_loras(draft, card),
        step_cache=_optional_share("step_cache", draft.step_cache, MAX_STEP_CACHE) or None,
        further=tuple(sorted(set(draft.further))),
    )


def _loras(draft: RequestDraft, card: ModelCard) -> tuple[Lora, ...]:
    names = [lora.name for lora in draft.loras]
    if len(names) > MAX_LORAS:
        raise ParameterOutOfRange(says("most_loras", most=MAX_LORAS), parameter="loras")
    for place, lora in enumerate(draft.loras):
        _check_text("loras", lora.name, MAX_LORA_NAME)
        if lora.name not in card.loras:
            raise NotSupported(
                says("no_such_lora", name=lora.name, model=card.id, known=_told(card.loras)), parameter="loras"
            )
        if lora.name in names[:place]:
            raise InvalidRequest(says("lora_twice", name=lora.name), parameter="loras")
        if not -MAX_LORA_SCALE <= lora.scale <= MAX_LORA_SCALE:
            raise ParameterOutOfRange(says("lora_scale", most=f"{MAX_LORA_SCALE:g}"), parameter="loras")
    return tuple(Lora(name=lora.name, scale=float(lora.scale)) for lora in draft.loras)


def _told(names: Sequence[str]) -> str:
    more = len(names) - SHOWN_LORAS
    return (", ".join(names[:SHOWN_LORAS]) or "none") + (f" and {more} more" if more > 0 else "")


def _usual_guidance(draft: RequestDraft, card: ModelCard) -> float:
    """The default of the weights that make the picture; an edit with a mask is filled."""
    companion = card.companion(Mode.FILL if draft.mask else draft.mode)
    if companion is None or companion.guidance_scale is None:
        return card.defaults.guidance_scale
    return companion.guidance_scale


def _strength(draft: RequestDraft, card: ModelCard) -> float | None:
    """None where no picture is begun with: an instruction's pictures are looked at instead."""
    if draft.mode not in HAS_STRENGTH or _follows_instruction(draft, card.capabilities):
        return None
    anew = draft.mode in (Mode.FILL, Mode.CONTROLNET)
    return _share("strength", draft.strength, 1.0 if anew else card.defaults.strength, 1)


def _follows_instruction(draft: RequestDraft, can: Capabilities) -> bool:
    return draft.mode is Mode.EDIT and can.instruction_edit and draft.mask is None


def _check_support(draft: RequestDraft, card: ModelCard) -> None:
    can = card.capabilities
    if draft.mode not in can.modes:
        raise NotSupported(says("unable", what=draft.mode, model=card.id), parameter="mode")
    if draft.negative_prompt and not can.negative_prompt:
        raise NotSupported(says("unable", what="negative_prompt", model=card.id), parameter="negative_prompt")
    if draft.guidance_scale and not can.guidance:
        raise NotSupported(says("no_guidance", model=card.id), parameter="guidance_scale")
    for name, value in (("cfg_normalization", draft.cfg_normalization), ("cfg_truncation", draft.cfg_truncation)):
        if value is not None and not can.cfg_shaping:
            raise NotSupported(says("unable", what=name, model=card.id), parameter=name)
    if draft.step_cache and not can.step_cache:
        raise NotSupported(says("unable", what="step_cache", model=card.id), parameter="step_cache")
    if draft.step_cache and draft.mode is Mode.CONTROLNET:
        raise NotSupported(says("unable_in_mode", parameter="step_cache", mode=draft.mode), parameter="step_cache")
    if draft.strength is not None and _follows_instruction(draft, can):
        raise NotSupported(says("no_strength", model=card.id), parameter="strength")


def _check_images(draft: RequestDraft, can: Capabilities) -> None:
    """Each mode has the pictures that it needs, and no others."""
    count = len(draft.input_images)
    if draft.mode is Mode.TEXT2IMG and draft.staged:
        raise InvalidRequest(says("takes_no_picture", mode=Mode.TEXT2IMG, other=Mode.IMG2IMG), parameter="mode")
    if draft.mode is not Mode.TEXT2IMG and not count:
        raise MissingParameter(says("needs_picture", parameter="input_image", mode=draft.mode), parameter="input_image")
    most = max(1, can.max_input_images) if draft.mode is Mode.EDIT else 1
    if count > most:
        raise ParameterOutOfRange(says("most_pictures", most=most, mode=draft.mode), parameter="input_image")
    if draft.mode is Mode.FILL and draft.mask is None:
        raise MissingParameter(says("needs_picture", parameter="mask_image", mode=draft.mode), parameter="mask_image")
    if draft.mode is Mode.CONTROLNET and draft.control_image is None:
        raise MissingParameter(
            says("needs_picture", parameter="control_image", mode=draft.mode), parameter="control_image"
        )
    if draft.mask is not None:
        if draft.mode not in (Mode.FILL, Mode.EDIT):
            raise InvalidRequest(says("means_nothing", parameter="mask_image", mode=draft.mode), parameter="mask_image")
        image = draft.input_images[0]
        if (draft.mask.width, draft.mask.height) != (image.width, image.height):
            raise InvalidImage(
                says(
                    "mask_of_other_size",
                    mask=f"{draft.mask.width}x{draft.mask.height}",
                    image=f"{image.width}x{image.height}",
                ),
                parameter="mask_image",
            )


def _check_control(draft: RequestDraft) -> None:
    """What speaks of a ControlNet belongs to its mode, and thereby to models that have one."""
    said = {
        "control_image": draft.control_image,
        "control_preprocess": draft.control_preprocess,
        "controlnet_conditioning_scale": draft.controlnet_conditioning_scale,
    }
    for name, value in said.items():
        if value is not None and draft.mode is not Mode.CONTROLNET:
            raise InvalidRequest(says("means_nothing", parameter=name, mode=draft.mode), parameter=name)


def _share(name: str, value: float | None, default: float, most: float) -> float:
    chosen = default if value is None else value
    if not 0 <= chosen <= most:
        raise ParameterOutOfRange(says("between", parameter=name, least=0, most=most), parameter=name)
    return float(chosen)


def _optional_share(name: str, value: float | None, most: float) -> float | None:
    return None if value is None else _share(name, value, 0, most)


def _within(name: str, value: int | None, default: int, allowed: Range) -> int:
    chosen = default if value is None else value
    if chosen not in allowed:
        raise ParameterOutOfRange(
            says("between", parameter=name, least=allowed.minimum, most=allowed.maximum), parameter=name
        )
    return chosen


def _check_text(name: str, text: str, max_chars: int) -> None:
    if len(text) > max_chars:
        raise ParameterOutOfRange(says("most_chars", parameter=name, most=max_chars), parameter=name)
    if _HALF_PAIR.search(text):
        # JSON can carry half a surrogate pair, which no encoding can store.
        raise InvalidRequest(says("not_unicode", parameter=name), parameter=name)
    if "\0" in text:  # which not every database can store
        raise InvalidRequest(says("has_nul", parameter=name), parameter=name)
