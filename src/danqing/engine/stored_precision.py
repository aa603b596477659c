"""In which precision a checkpoint's weights are stored. Imports neither torch nor diffusers, whose own reader of it
brings in every package for quantising that is installed.
"""

import json
from pathlib import Path

from huggingface_hub import hf_hub_download  # pyright: ignore[reportUnknownVariableType]

from danqing.core.capabilities import Companion, ModelCard

TRANSFORMER = "transformer"


def is_by_sdnq(card: ModelCard) -> bool:
    """Whether the transformer is quantised by SDNQ, in the checkpoint or as it loads. False where the checkpoint cannot
    be read, which loading it will tell. Blocking; may ask the hub for its configuration.
    """
    if card.precision != "native":
        return card.precision.startswith("sdnq")
    try:
        stored = stored_precision(card, TRANSFORMER)
    except (OSError, ValueError):
        return False
    return stored is not None and stored.startswith("sdnq")


def stored_precision(weights: ModelCard | Companion, part: str) -> str | None:
    """That the part has in the checkpoint, for SDNQ's written as a `Precision`; None if it is not quantised."""
    if Path(weights.source).is_absolute():
        file = Path(weights.source, part, "config.json")
    else:
        file = Path(hf_hub_download(weights.source, f"{part}/config.json", revision=weights.revision))
    match json.loads(file.read_bytes()):
        case {"quantization_config": {"quant_method": "sdnq", "weights_dtype": str(dtype)}}:
            return f"sdnq-{dtype}"
        case {"quantization_config": {"quant_method": str(method)}}:
            return method
        case _:
            return None
