"""From turbo's wire to the core. Pure."""

from danqing.core.types import RequestDraft
from danqing.dialects.turbo.schemas import DEFAULT_SIDE, DEFAULT_STEPS, GenerateRequest


def to_draft(wire: GenerateRequest) -> RequestDraft:
    """What is not given, or null, is the document's default; the seed is left to the core."""
    return RequestDraft(
        prompt=wire.prompt,
        height=DEFAULT_SIDE if wire.height is None else wire.height,
        width=DEFAULT_SIDE if wire.width is None else wire.width,
        num_inference_steps=DEFAULT_STEPS if wire.num_inference_steps is None else wire.num_inference_steps,
        seed=wire.seed,
    )
