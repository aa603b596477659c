"""What its caller may want to know of how a request is honoured, as far as it is known beforehand. Pure."""

from danqing.core.capabilities import ModelCard
from danqing.core.sizes import plan_size
from danqing.core.types import GenerationRequest


def foreseen_adjustments(request: GenerationRequest, card: ModelCard) -> tuple[str, ...]:
    """One sentence each, as in `Job.adjustments`. card: the request's model."""
    size = plan_size(card.capabilities.size_rules, request.width, request.height).adjustment
    unused = request.negative_prompt and not request.guidance_scale
    return tuple(
        sentence
        for sentence in (size, "negative_prompt not used, because guidance_scale is 0" if unused else None)
        if sentence
    )
