"""What its caller may want to know of how a request is honoured, as far as it is known beforehand. Pure."""

from danqing.core.capabilities import ModelCard
from danqing.core.sentences import says
from danqing.core.sizes import plan_size
from danqing.core.types import GenerationRequest, Mode


def foreseen_adjustments(request: GenerationRequest, card: ModelCard) -> tuple[str, ...]:
    """One sentence each, as in `Job.adjustments`. card: the request's model."""
    size = plan_size(card.capabilities.size_rules, request.width, request.height).adjustment
    unused = request.negative_prompt and not request.guidance_scale
    sentences = (
        size,
        says("negative_not_used") if unused else None,
        _edit(request) if request.mode is Mode.EDIT and not card.capabilities.instruction_edit else None,
        says("side_by_side") if _laid_out(request, card) else None,
    )
    return tuple(sentence for sentence in sentences if sentence)


def _laid_out(request: GenerationRequest, card: ModelCard) -> bool:
    """Whether an instruction is about several pictures that the model looks at as one."""
    scaling = card.capabilities.reference_scaling
    instructed = request.mode is Mode.EDIT and request.mask is None and card.capabilities.instruction_edit
    return instructed and scaling is not None and scaling.framed and len(request.input_images) > 1


def _edit(request: GenerationRequest) -> str:
    """How a model that does not understand instructions edits."""
    if request.mask is not None:
        return says("filled")
    return says("redrawn_side_by_side" if len(request.input_images) > 1 else "redrawn")
