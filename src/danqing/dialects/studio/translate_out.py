"""From the core to the studio's wire. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from danqing.core.batches import Batch
from danqing.core.callers import Caller, owner_of
from danqing.core.capabilities import FreeSizes, ModelCard
from danqing.core.images import ImageRef
from danqing.core.issued_keys import IssuedKey
from danqing.core.types import ArtifactKind, GenerationRequest, Job, JobFailure, Mode, PoolStatus
from danqing.core.upscaling import FACTOR, MAX_INPUT_SIDE, UPSCALER
from danqing.dialects.studio.key_schemas import IssuedKeyView, KeyView
from danqing.dialects.studio.picture_names import input_name, picture_path
from danqing.dialects.studio.schemas import (
    BatchPage,
    BatchView,
    CallerView,
    DefaultsView,
    FailureView,
    InputsView,
    JobView,
    LoraView,
    ModelView,
    PictureView,
    RequestView,
    SizesView,
    UpscalerView,
)
from danqing.dialects.studio.sentence_views import note_of, sentence_of


@dataclass(frozen=True, kw_only=True)
class Teller:
    """Tells jobs. link: makes of a picture's path an address for browsers."""

    link: Callable[[str], str]

    def job(self, job: Job, *, queue_position: int = 0) -> JobView:
        """As it is now."""
        return JobView(
            id=job.id,
            batch_id=job.batch_id,
            index=job.batch_index,
            state=job.state.value,
            queue_position=queue_position,
            request=_request(job.request),
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            attempts=len(job.attempts),
            adjustments=list(job.adjustments),
            notes=[note_of(text) for text in job.adjustments],
            failure=_failure(job.failure) if job.failure else None,
            pictures={
                artifact.kind: PictureView(
                    url=self.link(picture_path(job.id, artifact.kind.value)),
                    media_type=artifact.media_type,
                    width=artifact.width,
                    height=artifact.height,
                    size_bytes=artifact.size_bytes,
                )
                for artifact in job.artifacts
            },
            inputs=self._inputs(job),
        )

    def batch(self, batch: Batch, caller: Caller) -> BatchView:
        """With all its jobs."""
        return BatchView(
            id=batch.id,
            created_at=batch.created_at,
            size=batch.size,
            owner=batch.owner if caller.sees_all else None,
            jobs=[self.job(job) for job in batch.jobs],
        )

    def page(self, batches: Sequence[Batch], caller: Caller, *, offset: int, limit: int) -> BatchPage:
        """limit: how many were asked for."""
        is_last = len(batches) < limit
        return BatchPage(
            batches=[self.batch(batch, caller) for batch in batches],
            next_offset=None if is_last else offset + len(batches),
        )

    def _inputs(self, job: Job) -> InputsView:
        named = {image: self._input(job, name, image) for name, image in inputs_of(job.request).items()}
        request = job.request
        return InputsView(
            input_images=[named[image] for image in request.input_images],
            mask=named[request.mask] if request.mask else None,
            control_image=named[request.control_image] if request.control_image else None,
        )

    def _input(self, job: Job, name: str, image: ImageRef) -> PictureView:
        url = self.link(picture_path(job.id, name))
        return PictureView(url=url, media_type="image/png", width=image.width, height=image.height)


def inputs_of(request: GenerationRequest) -> dict[str, ImageRef]:
    """The pictures that the request starts from, by the names that they have in addresses."""
    named = {input_name(place): image for place, image in enumerate(request.input_images)}
    if request.mask:
        named["mask"] = request.mask
    if request.control_image:
        named["control"] = request.control_image
    return named


def from_card(card: ModelCard, pool: PoolStatus) -> ModelView:
    """A model on offer."""
    can, rules = card.capabilities, card.capabilities.size_rules
    free = rules if isinstance(rules, FreeSizes) else None
    return ModelView(
        id=card.id,
        title=card.title,
        family=card.family,
        licence=card.licence,
        loaded=any(card.id in worker.models and worker.device for worker in pool.workers),
        modes=[mode for mode in Mode if mode in can.modes],
        min_side=can.side.minimum,
        max_side=can.side.maximum,
        min_steps=can.steps.minimum,
        max_steps=can.steps.maximum,
        sizes=SizesView(
            multiple_of=free.multiple_of if free else None,
            max_pixels=free.max_pixels if free else None,
            trained=[] if isinstance(rules, FreeSizes) else list(rules.sizes),
        ),
        guidance=can.guidance,
        negative_prompt=can.negative_prompt,
        instruction_edit=can.instruction_edit,
        step_cache=can.step_cache,
        max_input_images=can.max_input_images,
        max_prompt_chars=can.max_prompt_chars,
        loras=list(card.loras),
        defaults=_defaults(card),
    )


def upscaler_of(pool: PoolStatus) -> UpscalerView | None:
    """What enlarges pictures that exist; None where there are workers, and none of them can."""
    if pool.workers and not any(UPSCALER in worker.models for worker in pool.workers):
        return None
    return UpscalerView(factor=FACTOR, max_side=MAX_INPUT_SIDE)


def from_caller(caller: Caller, *, manages_keys: bool) -> CallerView:
    """Who asks."""
    return CallerView(owner=caller.owner, sees_all=caller.sees_all, manages_keys=manages_keys)


def from_key(key: IssuedKey) -> KeyView:
    """A key, without itself."""
    return KeyView(
        id=key.id,
        name=key.name,
        owner=owner_of(key.digest),
        created_at=key.created_at,
        last_used_on=key.last_used_on,
    )


def from_new_key(key: IssuedKey, text: str) -> IssuedKeyView:
    """text: what its bearer sends."""
    return IssuedKeyView(**from_key(key).model_dump(), key=text)


def _failure(failure: JobFailure) -> FailureView:
    return FailureView(code=failure.code, message=failure.message, sentence=sentence_of(failure.message))


def _defaults(card: ModelCard) -> DefaultsView:
    defaults, control = card.defaults, card.companion(Mode.CONTROLNET)
    guided = {companion.mode: companion.guidance_scale for companion in card.companions}
    return DefaultsView(
        width=defaults.width,
        height=defaults.height,
        num_inference_steps=defaults.num_inference_steps,
        guidance_scale=defaults.guidance_scale,
        strength=defaults.strength,
        mode_guidance_scale={mode: scale for mode, scale in guided.items() if scale is not None},
        controlnet_conditioning_scale=control.conditioning_scale if control else None,
    )


def _request(request: GenerationRequest) -> RequestView:
    return RequestView(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        mode=request.mode,
        model=request.model,
        width=request.width,
        height=request.height,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        seed=str(request.seed),
        strength=request.strength,
        control_preprocess=request.control_preprocess,
        controlnet_conditioning_scale=request.controlnet_conditioning_scale,
        loras=[LoraView(name=lora.name, scale=lora.scale) for lora in request.loras],
        step_cache=request.step_cache,
        upscale=ArtifactKind.UPSCALED in request.further,
    )
