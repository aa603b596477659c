"""Enlarging a picture that exists, as a request of its own: no model draws anything, the workers' upscaler does it."""

import dataclasses
from types import MappingProxyType

from danqing.core.capabilities import MAX_PROMPT_CHARS, Capabilities, FreeSizes, ModelCard, ModelDefaults, Range
from danqing.core.errors import InvalidRequest, MissingParameter, ParameterOutOfRange
from danqing.core.images import StagedImage, ref_of
from danqing.core.sentences import says
from danqing.core.types import ArtifactKind, GenerationRequest, Mode, RequestDraft

UPSCALER = "upscaler"  # the id under which every worker offers the one it has; which one that is, the picture tells
FACTOR = 4  # each way
MAX_INPUT_SIDE = 2048  # pixels: the result, at most 8192 a side, is held in memory as a whole

CARD = ModelCard(
    id=UPSCALER,
    family=UPSCALER,
    source="",
    revision=None,
    title="Upscaler",
    capabilities=Capabilities(
        modes=frozenset({Mode.UPSCALE}),
        size_rules=FreeSizes(multiple_of=1, min_side=FACTOR, max_pixels=(FACTOR * MAX_INPUT_SIDE) ** 2),
        side=Range(minimum=FACTOR, maximum=FACTOR * MAX_INPUT_SIDE),
        steps=Range(minimum=1, maximum=1),
        guidance=False,
        negative_prompt=False,
        max_prompt_chars=MAX_PROMPT_CHARS,
        max_input_images=1,
    ),
    defaults=ModelDefaults(
        width=FACTOR * MAX_INPUT_SIDE, height=FACTOR * MAX_INPUT_SIDE, num_inference_steps=1, guidance_scale=0.0
    ),
)

# What a draft may say: the picture; a prompt, by which it is found; a preview; and a size, if it is the one it gets.
_SAID = frozenset({"prompt", "mode", "model", "input_images", "width", "height", "further"})
_PARAMETERS = MappingProxyType({"mask": "mask_image"})
_UNSAID = {
    field.name: field.default for field in dataclasses.fields(RequestDraft) if field.name not in _SAID
}  # each with the value that says nothing


def upscale_request(draft: RequestDraft) -> GenerationRequest:
    """The complete request; equal pictures give equal ones. The prompt's text is checked already.

    Raises MissingParameter, ParameterOutOfRange or InvalidRequest, each naming the parameter.
    """
    image = _picture(draft)
    for name, unsaid in _UNSAID.items():
        if getattr(draft, name) not in (unsaid, None, ""):
            parameter = _PARAMETERS.get(name, name)
            raise InvalidRequest(says("means_nothing", parameter=parameter, mode=Mode.UPSCALE), parameter=parameter)
    if ArtifactKind.UPSCALED in draft.further:
        raise InvalidRequest(says("means_nothing", parameter="upscale", mode=Mode.UPSCALE), parameter="upscale")
    sides = {"width": (draft.width, FACTOR * image.width), "height": (draft.height, FACTOR * image.height)}
    for name, (said, becomes) in sides.items():
        if said not in (None, becomes):
            raise ParameterOutOfRange(
                says("side_when_upscaled", parameter=name, factor=FACTOR, becomes=becomes), parameter=name
            )
    return GenerationRequest(
        model=UPSCALER,
        mode=Mode.UPSCALE,
        prompt=draft.prompt,
        negative_prompt="",
        width=FACTOR * image.width,
        height=FACTOR * image.height,
        num_inference_steps=1,
        guidance_scale=0.0,
        seed=0,
        input_images=(ref_of(image),),
        further=tuple(sorted(set(draft.further))),
    )


def _picture(draft: RequestDraft) -> StagedImage:
    image = next(iter(draft.input_images), None)
    if image is None:
        raise MissingParameter(
            says("needs_picture", parameter="input_image", mode=Mode.UPSCALE), parameter="input_image"
        )
    if len(draft.input_images) > 1:
        raise ParameterOutOfRange(says("most_pictures", most=1, mode=Mode.UPSCALE), parameter="input_image")
    if max(image.width, image.height) > MAX_INPUT_SIDE:
        raise ParameterOutOfRange(
            says("too_large_to_upscale", size=f"{image.width}x{image.height}", most=MAX_INPUT_SIDE),
            parameter="input_image",
        )
    return image
