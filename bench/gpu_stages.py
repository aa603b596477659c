"""A picture's stages (text, denoise, vae, encode), plain diffusers' and Danqing's, each with a synchronised clock."""

import io
import json
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus
from PIL import Image
from random_models import PictureProcessor, build
from torch.utils.flop_counter import FlopCounterMode

from danqing.core.capabilities import ModelCard
from danqing.core.engine_port import Engine, Unwatched
from danqing.core.errors import DanqingError
from danqing.core.images import ImageRef
from danqing.core.types import ArtifactKind, GenerationRequest, Mode
from danqing.engine.families.denoising import Denoising
from danqing.engine.families.flux.model import Flux
from danqing.engine.families.qwen_image.model import QwenImage
from danqing.engine.families.z_image.model import ZImage

PROMPT = "a lighthouse on a rocky coast at dusk, long exposure, number"


class Asked(Protocol):
    """A case of `gpu_engine.py`."""

    side: int
    steps: int
    guidance_scale: float


@dataclass(kw_only=True)
class Pictures:
    """Of all rounds. stages: seconds of each. flops: of one run of the transformer; forwards: runs a picture."""

    stages: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    totals: list[float] = field(default_factory=list)
    rgb: list[np.ndarray] = field(default_factory=list)
    flops: float = 0.0
    forwards: int = 0
    weights_gb: float | None = None
    peak_gb: float | None = None

    @property
    def total_s(self) -> float:
        """The median of the rounds."""
        return float(np.median(self.totals))


class StageClock:
    """Seconds of each stage since it was last read."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)

    def now(self) -> float:
        """Once the device has nothing to do."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def timed(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, whose time counts to that stage."""

        def wrapped(*args: Any, **named: Any) -> Any:  # noqa: ANN401
            started = self.now()
            try:
                return call(*args, **named)
            finally:
                self._seconds[stage] += self.now() - started
                self.calls[stage] += 1

        return wrapped

    def read(self) -> dict[str, float]:
        """And begins anew."""
        seconds, self._seconds = dict(self._seconds), defaultdict(float)
        self.calls.clear()
        return seconds


def plain_pictures(folder: Path, cases: Sequence[Asked], device: torch.device, rounds: int) -> list[Pictures]:
    """Of each case, by diffusers alone. Between stages it denoises, so what is left of the whole is that."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    instead = {"processor": PictureProcessor(folder)} if (folder / "processor").exists() else {}
    pipeline = build(folder, device=device, dtype=dtype, **instead)
    pipeline.set_progress_bar_config(disable=True)
    if (folder / "danqing.json").exists():  # as it is written for the sample's shapes
        own = json.loads((folder / "danqing.json").read_bytes())
        pipeline_qwenimage_edit_plus.VAE_IMAGE_SIZE = own["reference_pixels"]
        pipeline_qwenimage_edit_plus.CONDITION_IMAGE_SIZE = own["condition_pixels"]
    clock, weights = StageClock(device), _allocated(device)
    forward = pipeline.transformer.forward
    all_made: list[Pictures] = []
    for case in cases:
        _forget_peak(device)
        pipeline.transformer.forward = forward
        made = Pictures(weights_gb=weights, flops=_flops(pipeline, case))
        runs = 0

        def counted(*args: Any, **named: Any) -> Any:  # noqa: ANN401
            nonlocal runs
            runs += 1
            return forward(*args, **named)

        pipeline.transformer.forward = counted
        with _watched_pipeline(pipeline, clock):
            for number in range(rounds + 1):
                runs, started = 0, clock.now()
                image = pipeline(**_called_with(pipeline, case, number)).images[0]
                before_png = clock.now()
                image.save(io.BytesIO(), "PNG")
                ended = clock.now()
                stages = clock.read()
                stages["encode"] = ended - before_png
                stages["denoise"] = before_png - started - stages["text"] - stages["vae"]
                if number:
                    _add(made, stages, ended - started, np.asarray(image))
        made.forwards, made.peak_gb = runs, _peak(device)
        all_made.append(made)
    return all_made


@contextmanager
def _watched_pipeline(pipeline: Any, clock: StageClock) -> Generator[None]:  # noqa: ANN401
    text, decode, to_pil = pipeline.encode_prompt, pipeline.vae.decode, pipeline.image_processor.postprocess
    pipeline.encode_prompt, pipeline.vae.decode = clock.timed("text", text), clock.timed("vae", decode)
    pipeline.image_processor.postprocess = clock.timed("vae", to_pil)  # to bytes, as Danqing's decoding ends with them
    try:
        yield
    finally:
        pipeline.encode_prompt, pipeline.vae.decode, pipeline.image_processor.postprocess = text, decode, to_pil


def _called_with(pipeline: Any, case: Asked, number: int) -> dict[str, Any]:  # noqa: ANN401
    common = {
        "prompt": f"{PROMPT} {number}",
        "width": case.side,
        "height": case.side,
        "num_inference_steps": case.steps,
        "generator": torch.Generator().manual_seed(number),
    }
    if type(pipeline).__name__.startswith("QwenImage"):
        negative = {"negative_prompt": " "} if case.guidance_scale > 1 else {}
        return common | negative | {"image": reference(case.side), "true_cfg_scale": case.guidance_scale}
    return common | {"guidance_scale": case.guidance_scale}


def _flops(pipeline: Any, case: Asked) -> float:  # noqa: ANN401
    """Of the first run of the transformer."""
    forward, counts = pipeline.transformer.forward, []

    def counting(*args: Any, **named: Any) -> Any:  # noqa: ANN401
        with FlopCounterMode(display=False) as counter:
            result = forward(*args, **named)
        counts.append(counter.get_total_flops())
        return result

    pipeline.transformer.forward = counting
    try:
        pipeline(**_called_with(pipeline, case, 0) | {"num_inference_steps": 1, "output_type": "latent"})
    finally:
        pipeline.transformer.forward = forward
    return float(counts[0])


def danqing_pictures(
    engine: Engine, card: ModelCard, cases: Sequence[Asked], device: torch.device, rounds: int
) -> list[Pictures]:
    """Of each case, by a loaded engine. Raises EngineFailure."""
    clock, weights = StageClock(device), _allocated(device)
    all_made: list[Pictures] = []
    with _watched_families(clock):
        for case in cases:
            _forget_peak(device)
            made = Pictures(weights_gb=weights)
            for number in range(rounds + 1):
                request = request_of(card, case, number)
                png = _png(reference(case.side))
                started = clock.now()
                (raw,) = engine.denoise([request], read_image=lambda _, png=png: png, observers=[Unwatched()])
                if isinstance(raw, DanqingError):
                    raise raw
                assert raw is not None
                computed = raw.computed()
                before_png = clock.now()
                finished = engine.finish(computed, request, read_image=lambda _, png=png: png)
                engine.encode(finished, request, ArtifactKind.ORIGINAL)
                ended = clock.now()
                made.forwards = clock.calls["forward"]
                stages = clock.read()
                stages["encode"] = ended - before_png
                if number:
                    rgb = np.frombuffer(finished.rgb, np.uint8).reshape(finished.height, finished.width, 3)
                    _add(made, stages, ended - started, rgb)
            made.peak_gb = _peak(device)
            all_made.append(made)
    return all_made


def request_of(card: ModelCard, case: Asked, number: int) -> GenerationRequest:
    """From words where the model can, else an edit of `reference`."""
    edits = Mode.TEXT2IMG not in card.capabilities.modes
    image = ImageRef(name="reference.png", width=case.side, height=case.side)
    return GenerationRequest(
        model=card.id,
        mode=Mode.EDIT if edits else Mode.TEXT2IMG,
        prompt=f"{PROMPT} {number}",
        negative_prompt="",
        width=case.side,
        height=case.side,
        num_inference_steps=case.steps,
        guidance_scale=case.guidance_scale,
        seed=number,
        input_images=(image,) if edits else (),
    )


@contextmanager
def _watched_families(clock: StageClock) -> Generator[None]:
    """Every family's text encoding and decoding, and the denoising in between, with its runs of the transformer."""
    families, run = (ZImage, Flux, QwenImage), Denoising.run
    before = [(family, family.encode, family.decoding) for family in families]

    def counted(denoising: Any, prompts: Any) -> Any:  # noqa: ANN401
        transformer = denoising._model.parts.transformer
        hook = transformer.register_forward_pre_hook(
            lambda *_: clock.calls.__setitem__("forward", clock.calls["forward"] + 1)
        )
        try:
            return run(denoising, prompts)
        finally:
            hook.remove()

    def timed(decoding: Any) -> Any:  # noqa: ANN401
        return lambda *given: clock.timed("vae", decoding(*given))

    for family, encode, decoding in before:
        family.encode, family.decoding = clock.timed("text", encode), timed(decoding)
    Denoising.run = clock.timed("denoise", counted)
    try:
        yield
    finally:
        Denoising.run = run
        for family, encode, decoding in before:
            family.encode, family.decoding = encode, decoding


def _add(made: Pictures, stages: dict[str, float], total: float, rgb: np.ndarray) -> None:
    for stage, seconds in stages.items():
        made.stages[stage].append(seconds)
    made.totals.append(total)
    made.rgb.append(rgb)


def reference(side: int) -> Image.Image:
    """A picture to be edited."""
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    rgb = np.stack([np.broadcast_to(ramp, (side, side)), np.broadcast_to(ramp[:, None], (side, side))] * 2, -1)[..., :3]
    return Image.fromarray(np.ascontiguousarray(rgb))


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _allocated(device: torch.device) -> float | None:
    return round(torch.cuda.memory_allocated(device) / 1e9, 3) if device.type == "cuda" else None


def _peak(device: torch.device) -> float | None:
    return round(torch.cuda.max_memory_allocated(device) / 1e9, 3) if device.type == "cuda" else None


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
