"""What a card says, in words for a terminal."""

from collections.abc import Iterator

from danqing.core.capabilities import Companion, ModelCard, Range, TrainedSizes
from danqing.core.types import Mode
from danqing.model_files import companion_state, files_state

NATIVE = "native: as DANQING_DTYPE says"
SDNQ = "quantised by the package sdnq (GPL-3.0), which is an extra"
TORCHAO = "quantised by the package torchao, which is an extra"


def description(card: ModelCard) -> Iterator[tuple[str, str]]:
    """Subject and text of each line. Blocking: looks at the disk."""
    can, defaults = card.capabilities, card.defaults
    yield "id", card.id
    yield "title", card.title
    yield "family", card.family
    yield "source", card.source
    if card.revision:
        yield "revision", card.revision
    yield "files", files_state(card).text
    yield "precision", _precision(card)
    yield "memory", f"about {card.memory_bytes / 1e9:.1f} GB" if card.memory_bytes else "not known"
    yield "licence", card.licence or "not known; see where it comes from"
    yield "modes", ", ".join(mode for mode in Mode if mode in can.modes)
    yield "sizes", made_at(card)
    yield "steps", _with_default(span(can.steps), defaults.num_inference_steps)
    yield "guidance_scale", _with_default("taken" if can.guidance else "0 only", f"{defaults.guidance_scale:g}")
    yield "strength", _with_default("0 to 1", f"{defaults.strength:g}")
    yield "negative_prompt", "taken" if can.negative_prompt else "refused"
    yield "step_cache", "taken" if can.step_cache else "refused"
    yield "size if none is asked for", f"{defaults.width}x{defaults.height}"
    yield "prompt", f"up to {can.max_prompt_chars:,} characters, {can.sequence_length.maximum} tokens"
    if Mode.EDIT in can.modes:
        how = "understands instructions" if can.instruction_edit else "draws what the prompt describes"
        yield "edit", f"{how}; from 1 to {can.max_input_images} pictures"
    if card.loras:
        yield "loras", ", ".join(card.loras)
    for companion in card.companions:
        yield companion.mode, _companion(companion)


def made_at(card: ModelCard) -> str:
    """Which sizes may be asked for, and which are made as they are."""
    can = card.capabilities
    if isinstance(can.size_rules, TrainedSizes):
        how = "made at " + " ".join(f"{width}x{height}" for width, height in can.size_rules.sizes)
    else:
        how = f"multiples of {can.size_rules.multiple_of} made as they are"
    return f"{span(can.side)}, {how}"


def span(allowed: Range) -> str:
    """Both ends."""
    return f"{allowed.minimum} to {allowed.maximum}"


def _with_default(allowed: str, default: object) -> str:
    return f"{allowed}, default {default}"


def _precision(card: ModelCard) -> str:
    if card.precision == "native":
        return NATIVE
    return f"{card.precision}: {SDNQ if card.precision.startswith('sdnq') else TORCHAO}"


def _companion(companion: Companion) -> str:
    parts = [companion.source, companion.file, companion.revision and f"revision {companion.revision}"]
    return f"{', '.join(part for part in parts if part)}: {companion_state(companion).text}"
