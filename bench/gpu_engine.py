"""Full-size models on a GPU: plain diffusers beside Danqing in each of its settings, stage by stage.

Weights are random, in the published shapes (`random_models.py`), so nothing is downloaded: speed and memory are the
real models', pictures are not, and how far a precision's picture is from bfloat16's says little of real ones (for
those: `bench/precision.py --model`). The device's clock is synchronised at each stage. Models are loaded one after
another, for two do not fit; every round has a prompt of its own and the seed of its number, so all settings make the
same pictures. Plain diffusers is what its documentation shows: bfloat16, pictures as PIL, saved as PNG.

    python bench/gpu_engine.py [--part PART] [--model NAME] [--setting NAME] [--rounds N]      needs a CUDA device
    python bench/gpu_engine.py --tiny       in the shapes of the samples, on the CPU: to see that it runs, not to quote
"""

import argparse
import dataclasses
import gc
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

if __name__ == "__main__" and "--tiny" in sys.argv:
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # compiling for a CPU takes a compiler, and minutes

import numpy as np
import torch
from gpu_served import measure_served
from gpu_stages import Pictures, danqing_pictures, plain_pictures
from gpu_upscaler import measure_upscaler
from random_models import FULL, random_weights, write_configs

from danqing.core.capabilities import Precision
from danqing.core.errors import EngineFailure
from danqing.engine.build import build_engine
from danqing.engine.device import default_cpu_threads
from danqing.engine.known_models import KnownModels
from danqing.engine.spec import Attention, EngineSpec

PEAK_FLOPS = 989e12  # of an H100 SXM in bfloat16, dense; H200 the same
GOAL = 1.8  # times as quick as plain diffusers
GOALS_MS = {"bf16": 820, "fp8": 620}  # HTTP in to PNG out, of Z-Image-Turbo on an H100
STAGES = ("text", "denoise", "vae", "encode")
Figures = dict[str, float | str | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What is made. guidance_scale: as Danqing means it; 0: none."""

    model: str
    side: int
    steps: int
    guidance_scale: float = 0.0

    @property
    def name(self) -> str:
        """For figures."""
        return f"{self.model}_{self.side}_{self.steps}_steps"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """Of the engine."""

    name: str
    precision: Precision = "native"
    compile: bool = False
    attention: Attention = "auto"
    needs_cuda: bool = False


CASES = (
    Case(model="z-image-turbo", side=1024, steps=8),
    Case(model="z-image-turbo", side=1024, steps=9),
    Case(model="z-image-turbo", side=512, steps=8),
    Case(model="flux1-dev", side=1024, steps=28, guidance_scale=3.5),
    Case(model="qwen-image-edit-2511", side=1024, steps=8, guidance_scale=1.0),
    Case(model="qwen-image-edit-2511", side=1024, steps=40, guidance_scale=4.0),
)
PARTS = ("models", "server", "upscaler")
SERVED = "z-image-turbo"
REFERENCE = "bf16"
SETTINGS = (
    Setting(name=REFERENCE),
    Setting(name="attention_native", attention="native", needs_cuda=True),
    Setting(name="attention_cudnn", attention="cudnn", needs_cuda=True),
    Setting(name="attention_flash", attention="flash", needs_cuda=True),
    Setting(name="attention_flash3", attention="flash3", needs_cuda=True),
    Setting(name="bf16_compiled", compile=True),
    Setting(name="fp8", precision="torchao-fp8"),
    Setting(name="fp8_compiled", precision="torchao-fp8", compile=True),
    Setting(name="torchao_int8_compiled", precision="torchao-int8", compile=True),
    Setting(name="sdnq_int8", precision="sdnq-int8"),
    Setting(name="sdnq_uint4", precision="sdnq-uint4"),
)
ALL_SETTINGS = tuple(setting.name for setting in SETTINGS)


def tiny(case: Case) -> Case:
    """The same in a size that a CPU makes at once."""
    return dataclasses.replace(case, side=64, steps=2 if case.steps < 30 else 3)


def measure(
    quick: bool = False,
    *,
    is_tiny: bool = False,
    parts: Sequence[str] = PARTS,
    models: Sequence[str] = tuple(FULL),
    settings: Sequence[str] = ALL_SETTINGS,
    rounds: int | None = None,
) -> Figures:
    """Figures by case, setting and stage, in milliseconds, GB and shares; where there is no CUDA device, only that."""
    if not is_tiny and not torch.cuda.is_available():
        return {"left_out": "there is no CUDA device"}
    device = torch.device("cpu" if is_tiny else "cuda")
    if is_tiny:
        torch.set_num_threads(default_cpu_threads())  # as the engine does
    rounds = rounds or (1 if quick or is_tiny else 5)
    figures: Figures = {"device": "cpu" if is_tiny else torch.cuda.get_device_name(device), "rounds": rounds}
    chosen = [setting for setting in SETTINGS if setting.name in settings]
    for model in models:
        cases = [case for case in CASES if case.model == model]
        if is_tiny:
            cases = list(dict.fromkeys(map(tiny, cases)))
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent, model)
            folder.mkdir()
            write_configs(model, folder, tiny=is_tiny)
            if "models" in parts:
                figures |= _of_model(folder, cases, device, chosen, rounds)
            if "server" in parts and model == SERVED:
                first = cases[0]
                figures |= measure_served(folder, side=first.side, steps=first.steps, device=device, rounds=rounds)
                figures |= {f"served_goal_{name}_ms": goal for name, goal in GOALS_MS.items()}
    if "upscaler" in parts:
        figures |= measure_upscaler(device, side=32 if is_tiny else 1024, blocks=2 if is_tiny else 23, rounds=rounds)
    return figures


def _of_model(
    folder: Path, cases: Sequence[Case], device: torch.device, settings: Sequence[Setting], rounds: int
) -> Figures:
    figures: Figures = {}
    plain = {case.name: each for case, each in zip(cases, plain_pictures(folder, cases, device, rounds), strict=True)}
    for name, pictures in plain.items():
        figures |= _figures(f"{name}_plain", pictures, pictures)
    free(device)
    reference: dict[str, Pictures] = {}
    best = dict.fromkeys(plain, float("inf"))
    for setting in settings:
        try:
            made = _of_setting(folder, cases, device, setting, rounds)
        except EngineFailure as failure:
            figures[f"{folder.name}_{setting.name}_left_out"] = failure.public_message
            continue
        finally:
            free(device)
        if isinstance(made, str):
            figures[f"{folder.name}_{setting.name}_left_out"] = made
            continue
        for name, pictures in made.items():
            figures |= _figures(f"{name}_{setting.name}", pictures, plain[name])
            best[name] = min(best[name], pictures.total_s)
            if setting.name == REFERENCE:
                reference[name] = pictures
            elif name in reference:
                figures |= _differences(f"{name}_{setting.name}", reference[name].rgb, pictures.rgb)
    for name, seconds in best.items():
        if seconds == float("inf"):
            continue
        figures[f"{name}_ratio"] = round(plain[name].total_s / seconds, 3)
        figures[f"{name}_goal_ratio"] = GOAL
    return figures


def _of_setting(
    folder: Path, cases: Sequence[Case], device: torch.device, setting: Setting, rounds: int
) -> Mapping[str, Pictures] | str:
    """Of each case; or why there are none. Raises EngineFailure."""
    if setting.needs_cuda and device.type != "cuda":
        return "there is no CUDA device"
    card = dataclasses.replace(KnownModels().find(str(folder)), precision=setting.precision)
    dtype = "bfloat16" if device.type == "cuda" else "float32"
    spec = EngineSpec(
        cards=(card,), device=str(device), dtype=dtype, compile=setting.compile, attention=setting.attention
    )
    with random_weights(device):
        engine = build_engine(spec)
        engine.load()
        try:
            return dict(
                zip((case.name for case in cases), danqing_pictures(engine, card, cases, device, rounds), strict=True)
            )
        finally:
            engine.unload()


def _figures(name: str, pictures: Pictures, plain: Pictures) -> Figures:
    """plain: of the same case; it has counted what a run of the transformer multiplies."""
    medians = {stage: statistics.median(each) for stage, each in pictures.stages.items()}
    done = plain.flops * pictures.forwards / medians["denoise"]
    figures: Figures = {f"{name}_{stage}_ms": round(1000 * medians[stage], 2) for stage in STAGES}
    figures[f"{name}_total_ms"] = round(1000 * pictures.total_s, 2)
    figures[f"{name}_tflops"] = float(f"{done / 1e12:.4g}")
    figures[f"{name}_share_of_peak"] = float(f"{done / PEAK_FLOPS:.4g}")
    figures[f"{name}_weights_gb"] = pictures.weights_gb
    figures[f"{name}_peak_gb"] = pictures.peak_gb
    return figures


def _differences(name: str, one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> Figures:
    """PSNR in dB, None for equal pictures; LPIPS where its package, and its network, are there."""
    error = float(np.mean([(a.astype(float) - b) ** 2 for a, b in zip(one, other, strict=True)]))
    psnr = None if error == 0 else round(10 * float(np.log10(255**2 / error)), 2)
    figures: Figures = {f"{name}_psnr_db": psnr}
    try:
        import lpips  # type: ignore[import-not-found]

        network = lpips.LPIPS(net="alex", verbose=False)
    except (ImportError, OSError):
        return figures
    with torch.inference_mode():
        pairs = [
            [torch.tensor(each).permute(2, 0, 1)[None] / 127.5 - 1 for each in pair]
            for pair in zip(one, other, strict=True)
        ]
        figures[f"{name}_lpips"] = round(statistics.mean(network(*pair).item() for pair in pairs), 4)
    return figures


def free(device: torch.device) -> None:
    """What nothing refers to any more."""
    gc.collect()
    torch._dynamo.reset()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def main() -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tiny", action="store_true", help="on the CPU, in the shapes of the samples; nothing compiled"
    )
    parser.add_argument("--part", choices=PARTS, action="append", help="repeatable (all)")
    parser.add_argument("--model", choices=FULL, action="append", help="repeatable (all)")
    parser.add_argument("--setting", choices=ALL_SETTINGS, action="append", help="repeatable (all)")
    parser.add_argument("--rounds", type=int, help="pictures of each case (5)")
    parser.add_argument("--out", type=Path, help="keep the figures there as well")
    args = parser.parse_args()
    figures = measure(
        is_tiny=args.tiny,
        parts=args.part or PARTS,
        models=args.model or tuple(FULL),
        settings=args.setting or ALL_SETTINGS,
        rounds=args.rounds,
    )
    text = json.dumps(figures, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
