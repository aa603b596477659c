"""Turns what a client said into a complete request, or says what is wrong with it. Pure, but for the dice."""

import secrets
from collections.abc import Callable

from danqing.core.capabilities import ModelCard, Range
from danqing.core.errors import InvalidRequest, MissingParameter, NotSupported, ParameterOutOfRange
from danqing.core.types import GenerationRequest, RequestDraft

SEED_BITS = 32  # drawn seeds; clients may send up to MAX_SEED
MAX_SEED = 2**63 - 1


def draw_seed() -> int:
    """A random seed, small enough for every client language."""
    return secrets.randbits(SEED_BITS)


def resolve(draft: RequestDraft, card: ModelCard, *, draw: Callable[[], int] = draw_seed) -> GenerationRequest:
    """Fills in the model's defaults and a seed, and checks everything against the model's capabilities.

    Raises MissingParameter, ParameterOutOfRange or NotSupported, each naming the parameter.
    """
    can, defaults = card.capabilities, card.defaults
    if not draft.prompt.strip():
        raise MissingParameter("prompt is required and must not be empty.", parameter="prompt")
    _check_text("prompt", draft.prompt, can.max_prompt_chars)
    _check_text("negative_prompt", draft.negative_prompt or "", can.max_prompt_chars)
    if draft.mode not in can.modes:
        raise NotSupported(f"Not supported: {draft.mode} by model {card.id}.", parameter="mode")
    if draft.negative_prompt and not can.negative_prompt:
        raise NotSupported(f"Not supported: negative_prompt by model {card.id}.", parameter="negative_prompt")
    guidance_scale = defaults.guidance_scale if draft.guidance_scale is None else draft.guidance_scale
    if guidance_scale and not can.guidance:
        raise NotSupported(
            f"Not supported: guidance_scale other than 0 by model {card.id}.", parameter="guidance_scale"
        )
    if not 0 <= guidance_scale <= 100:
        raise ParameterOutOfRange("guidance_scale must be between 0 and 100.", parameter="guidance_scale")
    seed = draw() if draft.seed is None else draft.seed
    if not 0 <= seed <= MAX_SEED:
        raise ParameterOutOfRange(f"seed must be between 0 and {MAX_SEED}.", parameter="seed")
    return GenerationRequest(
        model=card.id,
        mode=draft.mode,
        prompt=draft.prompt,
        negative_prompt=draft.negative_prompt or "",
        width=_within("width", draft.width, defaults.width, can.side),
        height=_within("height", draft.height, defaults.height, can.side),
        num_inference_steps=_within(
            "num_inference_steps", draft.num_inference_steps, defaults.num_inference_steps, can.steps
        ),
        guidance_scale=float(guidance_scale),
        seed=seed,
    )


def _within(name: str, value: int | None, default: int, allowed: Range) -> int:
    chosen = default if value is None else value
    if chosen not in allowed:
        raise ParameterOutOfRange(f"{name} must be between {allowed.minimum} and {allowed.maximum}.", parameter=name)
    return chosen


def _check_text(name: str, text: str, max_chars: int) -> None:
    if len(text) > max_chars:
        raise ParameterOutOfRange(f"{name} must have at most {max_chars} characters.", parameter=name)
    if any("\ud800" <= character <= "\udfff" for character in text):
        # JSON can carry half a surrogate pair, which no encoding can store.
        raise InvalidRequest(f"{name} is not valid Unicode text.", parameter=name)
