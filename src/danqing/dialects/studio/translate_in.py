"""From the studio's wire to the core. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from danqing.core.batches import BatchFilter, BatchPlace
from danqing.core.errors import InvalidRequest
from danqing.core.images import StagedImage
from danqing.core.orders import Order
from danqing.core.sentences import says
from danqing.core.types import ArtifactKind, Lora, Mode, RequestDraft
from danqing.dialects.studio.schemas import Wanted


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The pictures that came with a request."""

    input_images: tuple[StagedImage, ...] = ()
    mask: StagedImage | None = None
    control_image: StagedImage | None = None


def to_orders(wanted: Wanted, inputs: Inputs, *, batch_id: str) -> list[Order]:
    """One for each picture, all of one batch. Raises InvalidRequest for several of what is the same each time."""
    if wanted.mode is Mode.UPSCALE and wanted.count > 1:
        raise InvalidRequest(says("means_nothing", parameter="count", mode=Mode.UPSCALE), parameter="count")
    first = RequestDraft(
        prompt=wanted.prompt,
        mode=wanted.mode,
        model=wanted.model,
        negative_prompt=wanted.negative_prompt,
        width=wanted.width,
        height=wanted.height,
        num_inference_steps=wanted.num_inference_steps,
        guidance_scale=wanted.guidance_scale,
        seed=wanted.seed,
        strength=wanted.strength,
        input_images=inputs.input_images,
        mask=inputs.mask,
        control_image=inputs.control_image,
        control_preprocess=wanted.control_preprocess,
        controlnet_conditioning_scale=wanted.controlnet_conditioning_scale,
        loras=tuple(Lora(name=lora.name, scale=lora.scale) for lora in wanted.loras),
        step_cache=wanted.step_cache,
        further=(ArtifactKind.PREVIEW, *((ArtifactKind.UPSCALED,) if wanted.upscale else ())),
    )
    seeds = [None if wanted.seed is None else wanted.seed + index for index in range(wanted.count)]
    return [
        Order(
            draft=replace(first, seed=seed),
            batch=BatchPlace(id=batch_id, index=index, size=wanted.count),
            waits_for_model=True,
        )
        for index, seed in enumerate(seeds)
    ]


def to_filter(text: str, model: str | None, modes: Mode | None, *, failed: bool) -> BatchFilter:
    """text: words of the prompt. failed: those too of which nothing came."""
    words: Sequence[str] = text.split()
    return BatchFilter(words=tuple(words), model=model or None, mode=modes, promising=not failed)
