"""What becomes of every parameter of OpenAI's API and of the vendor's: honoured, refused, or ignored with a warning.

A parameter that stands in none of these tables is unknown, and ignored with a warning, too.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel

from danqing.core.errors import NotSupported

_TELLABLE_NAME = re.compile(r"[\w.\[\]-]{1,64}", re.ASCII)
_TOLD_NAMES = 10  # unknown names told one by one


class Fate(StrEnum):
    """What is done with a parameter that is given."""

    HONOURED = "honoured"
    REFUSED = "refused"  # with status 400
    IGNORED = "ignored"  # with a warning in the answer's header


@dataclass(frozen=True, kw_only=True)
class Decision:
    """reason: why it is refused or ignored, for the client. but_fine: values that ask for what happens anyway."""

    fate: Fate
    reason: str = ""
    but_fine: frozenset[object] = frozenset()


def _refused(reason: str, *but_fine: object) -> Decision:
    return Decision(fate=Fate.REFUSED, reason=reason, but_fine=frozenset(but_fine))


def _ignored(reason: str, *but_fine: object) -> Decision:
    return Decision(fate=Fate.IGNORED, reason=reason, but_fine=frozenset(but_fine))


_HONOURED = Decision(fate=Fate.HONOURED)
_USER = _ignored("users are not told apart here")

_EVERYWHERE: Mapping[str, Decision] = {
    "model": _HONOURED,
    "n": _HONOURED,
    "response_format": _HONOURED,
    "size": _HONOURED,
    "user": _USER,
    "seed": _HONOURED,
    "num_inference_steps": _HONOURED,
    "guidance_scale": _HONOURED,
    "negative_prompt": _HONOURED,
    "step_cache": _HONOURED,
}
_PROMPTED: Mapping[str, Decision] = {
    **_EVERYWHERE,
    "prompt": _HONOURED,
    "loras": _HONOURED,
    "background": _refused("no model here makes transparent pictures", "opaque", "auto"),
    "complexity": _ignored("pictures are not planned before they are made; see num_inference_steps"),
    "frame_count": _refused("it belongs to GIF output, which is not made here"),
    "frame_duration_ms": _refused("it belongs to GIF output, which is not made here"),
    "output_compression": _HONOURED,
    "output_format": _refused("pictures are made as png, jpeg or webp", "png", "jpeg", "webp"),
    "partial_images": _HONOURED,
    "quality": _ignored("the model has one quality; see num_inference_steps", "auto"),
    "safety_identifier": _USER,
    "stream": _HONOURED,
    "svg": _refused("pictures are made as png, jpeg or webp"),
}

GENERATIONS: Mapping[str, Decision] = {
    **_PROMPTED,
    "moderation": _ignored("nothing is moderated here", "auto"),
    "style": _ignored("say in the prompt how the picture is to look"),
}
EDITS: Mapping[str, Decision] = {
    **_PROMPTED,
    "image": _HONOURED,
    "images": _HONOURED,
    "mask": _HONOURED,
    "markup": _refused("no model here reads markings; send a mask"),
    "input_fidelity": _ignored("see strength"),
    "strength": _HONOURED,
}
VARIATIONS: Mapping[str, Decision] = {**_EVERYWHERE, "image": _HONOURED, "strength": _HONOURED}


def given_parameters(wire: BaseModel) -> dict[str, object]:
    """Those that were sent and say something, unknown ones included."""
    sent = {name: getattr(wire, name) for name in wire.model_fields_set if name in type(wire).model_fields}
    return {name: value for name, value in (sent | (wire.model_extra or {})).items() if value is not None}


def check_parameters(given: Mapping[str, object], decisions: Mapping[str, Decision]) -> list[str]:
    """Warnings about those that are ignored, ASCII only. Raises NotSupported for the first that is refused."""
    warnings: list[str] = []
    unknown: list[str] = []
    for name, value in given.items():
        field = name.partition("[")[0]  # forms write members so: svg[model]
        told = name if _TELLABLE_NAME.fullmatch(name) else field
        decision = decisions.get(field)
        if decision is None or (decision.fate is Fate.HONOURED and name != field):
            unknown.append(name)
        elif decision.fate is Fate.HONOURED or (isinstance(value, str) and value in decision.but_fine):
            continue
        elif decision.fate is Fate.REFUSED:
            raise NotSupported(f"Not supported: {told}; {decision.reason}.", parameter=told)
        else:
            warnings.append(f"{told} ignored: {decision.reason}")
    return [*dict.fromkeys(warnings), *_about_unknown(unknown)]


def _about_unknown(names: list[str]) -> list[str]:
    """Names are the client's own text: only plain ones, and not many, are told again."""
    plain = [name for name in names if _TELLABLE_NAME.fullmatch(name)][:_TOLD_NAMES]
    warnings = [f"{name} ignored: unknown parameter" for name in plain]
    others = len(names) - len(plain)
    return [*warnings, f"{others} more unknown parameters ignored"] if others else warnings
