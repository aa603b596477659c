"""What the served model takes, as JSON Schema beside that of the request; the vendor's document names no ranges."""

from collections.abc import Mapping

from danqing.core.capabilities import ModelCard, Range
from danqing.core.resolve import MAX_GUIDANCE


def limits_of(card: ModelCard) -> Mapping[str, object]:
    """For FastAPI's `openapi_extra`. Describes only: the core is what refuses."""
    can = card.capabilities
    properties = {
        "prompt": {"maxLength": can.max_prompt_chars, "pattern": r"\S"},
        "height": _range(can.side),
        "width": _range(can.side),
        "num_inference_steps": _range(can.steps),
        "guidance_scale": {"maximum": MAX_GUIDANCE if can.guidance else 0},
        "negative_prompt": {"maxLength": can.max_prompt_chars if can.negative_prompt else 0},
        "cfg_normalization": {"maximum": MAX_GUIDANCE},
        "max_sequence_length": _range(can.sequence_length),
    }
    return {"requestBody": {"content": {"application/json": {"schema": {"properties": properties}}}}}


def _range(allowed: Range) -> Mapping[str, int]:
    return {"minimum": allowed.minimum, "maximum": allowed.maximum}
