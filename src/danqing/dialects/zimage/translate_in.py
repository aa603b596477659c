"""From zimage's wire to the core. Pure."""

from danqing.core.batches import BatchPlace
from danqing.core.orders import Order
from danqing.core.types import ArtifactKind, RequestDraft
from danqing.dialects.zimage.metadata import Metadata
from danqing.dialects.zimage.schemas import GenerateImageRequest


def to_order(wire: GenerateImageRequest) -> Order:
    """Every picture gets a preview; one that names no batch has a batch of its own.

    As with the broker that these clients know, a task may come before there is a worker for it.
    """
    return Order(
        draft=RequestDraft(
            prompt=wire.prompt,
            height=wire.height,
            width=wire.width,
            num_inference_steps=wire.num_inference_steps,
            guidance_scale=wire.guidance_scale,
            seed=wire.seed,
            negative_prompt=wire.negative_prompt or "",
            cfg_normalization=None if wire.cfg_normalization is None else float(wire.cfg_normalization),
            cfg_truncation=wire.cfg_truncation,
            max_sequence_length=wire.max_sequence_length,
            further=(ArtifactKind.PREVIEW,),
        ),
        batch=_place(wire.metadata) if wire.metadata else None,
        metadata=wire.metadata.given if wire.metadata else {},
        waits_for_model=True,
    )


def _place(metadata: Metadata) -> BatchPlace | None:
    if metadata.batch_id is None:
        return None
    return BatchPlace(id=metadata.batch_id, index=metadata.batch_index or 0, size=metadata.batch_size or 1)
