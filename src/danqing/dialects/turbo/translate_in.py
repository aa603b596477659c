"""From turbo's wire to the core. Pure."""

from danqing.core.types import RequestDraft
from danqing.dialects.turbo.schemas import GenerateRequest


def to_draft(wire: GenerateRequest) -> RequestDraft:
    """What is not given is left to the model's defaults."""
    return RequestDraft(
        prompt=wire.prompt,
        height=wire.height,
        width=wire.width,
        num_inference_steps=wire.num_inference_steps,
        seed=wire.seed,
    )
