"""What a picture file says about how it was made: A1111's `parameters`, and our own JSON under `danqing`."""

import dataclasses
import json
from collections.abc import Sequence

from danqing.core.sizes import SizePlan
from danqing.core.types import ArtifactKind, GenerationRequest, Mode
from danqing.engine.codecs.png import PngText
from danqing.engine.upscale.upscaler import SCALE

SAMPLER = "Euler"


def request_texts(
    request: GenerationRequest,
    plan: SizePlan,
    kind: ArtifactKind,
    *,
    adjustments: Sequence[str],
    upscaler: str,
    version: str,
) -> tuple[PngText, PngText]:
    """Both texts, for the original or the upscaled picture. upscaler: its name.

    They hold no times, ids or paths: the same request gives the same texts.
    A NUL, which PNG texts cannot hold, is written as U+FFFD in `parameters`; the JSON keeps it.
    """
    parameters = _parameters(request, kind, upscaler, version).replace("\0", "\ufffd")
    own = _own_json(request, plan, kind, adjustments=adjustments, version=version)
    return PngText(keyword="parameters", text=parameters), PngText(keyword="danqing", text=own, utf8=True)


def _parameters(request: GenerationRequest, kind: ArtifactKind, upscaler: str, version: str) -> str:
    lines = [request.prompt + "".join(f" <lora:{lora.name}:{lora.scale:g}>" for lora in request.loras)]
    if request.negative_prompt:
        lines.append(f"Negative prompt: {request.negative_prompt}")
    settings: dict[str, object] = {} if request.mode is Mode.UPSCALE else _drawn_with(request)
    settings["Size"] = f"{request.width}x{request.height}"
    if request.mode is not Mode.UPSCALE:
        settings["Model"] = request.model
    if request.strength is not None:
        settings["Denoising strength"] = request.strength
    if request.step_cache is not None:
        settings["Step cache"] = request.step_cache
    if request.mode is not Mode.TEXT2IMG:
        settings["Mode"] = request.mode
    if kind is ArtifactKind.UPSCALED or request.mode is Mode.UPSCALE:
        settings |= {"Postprocess upscale by": SCALE, "Postprocess upscaler": upscaler}
    settings["Version"] = f"danqing {version}"
    lines.append(", ".join(f"{name}: {value}" for name, value in settings.items()))
    return "\n".join(lines)


def _drawn_with(request: GenerationRequest) -> dict[str, object]:
    return {
        "Steps": request.num_inference_steps,
        "Sampler": SAMPLER,
        "CFG scale": request.guidance_scale,
        "Seed": request.seed,
    }


def _own_json(
    request: GenerationRequest, plan: SizePlan, kind: ArtifactKind, *, adjustments: Sequence[str], version: str
) -> str:
    content = {
        "artifact": kind,
        "request": dataclasses.asdict(request),
        "size_plan": {**dataclasses.asdict(plan), "kept": plan.kept},
        "adjustments": list(adjustments),
        "version": version,
    }
    return json.dumps(content, ensure_ascii=False, sort_keys=True)
