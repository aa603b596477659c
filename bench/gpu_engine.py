"""Full-size models on a GPU: plain diffusers beside Danqing in each of its settings, stage by stage.

Weights are random, in the published shapes (`random_models.py`), so nothing is downloaded: speed and memory are the
real models', pictures are not, and how far a precision's picture is from bfloat16's says little of real ones (for
those: `bench/precision.py --model`). The device's clock is synchronised at each stage. Models are loaded one after
another, for two do not fit; every round has a prompt of its own and the seed of its number, so all settings make the
same pictures. Plain diffusers is what its documentation shows: bfloat16, pictures as PIL, saved as PNG.

    python bench/gpu_engine.py [--part PART] [--model NAME] [--setting NAME] [--way NAME] [--rounds N]      (a GPU)
    python bench/gpu_engine.py --keep       adds to bench/results as it goes; then: python bench/page.py
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
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__" and "--tiny" in sys.argv:
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # compiling for a CPU takes a compiler, and minutes

import numpy as np
import torch
from gpu_kept import NOTES, Kept, nested
from gpu_served import WAYS, Way, measure_served
from gpu_stages import Pictures, danqing_pictures, plain_pictures
from gpu_upscaler import measure_upscaler
from random_models import FULL, random_weights, write_configs

from danqing.core.capabilities import Precision
from danqing.core.errors import EngineFailure
from danqing.engine.build import build_engine
from danqing.engine.device import default_cpu_threads
from danqing.engine.families import warm_up
from danqing.engine.known_models import KnownModels
from danqing.engine.spec import Attention, EngineSpec

PEAK_FLOPS = 989e12  # of an H100 SXM in bfloat16, dense; H200 the same
GOAL = 1.8  # times as quick as plain diffusers
TINY_SIDE = 64  # pixels
STAGES = ("text", "denoise", "vae", "encode")
RESULT = Path(__file__).parent / "results" / "gpu_engine.json"
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
ALL_WAYS = tuple(way.name for way in WAYS)


def tiny(case: Case) -> Case:
    """The same in a size that a CPU makes at once."""
    return dataclasses.replace(case, side=TINY_SIDE, steps=2 if case.steps < 30 else 3)


def measure(quick: bool = False) -> dict[str, object]:
    """Tables by case; where there is no CUDA device, only that."""
    figures = measured(rounds=1 if quick else None)
    return figures if "left_out" in figures else as_tables(figures) | {"notes": [*NOTES]}


def as_tables(figures: Mapping[str, Any]) -> dict[str, object]:
    """See `nested`."""
    cases = [case.name for case in (*CASES, *map(tiny, CASES))]
    return nested(figures, cases, ["plain", *ALL_SETTINGS])


def measured(
    *,
    is_tiny: bool = False,
    parts: Sequence[str] = PARTS,
    models: Sequence[str] = tuple(FULL),
    settings: Sequence[str] = ALL_SETTINGS,
    ways: Sequence[str] = ALL_WAYS,
    rounds: int | None = None,
    keep: Callable[[str, Figures], None] = lambda part, figures: None,
) -> Figures:
    """Figures by case, setting and stage, in milliseconds, GB and shares; where there is no CUDA device, only that.

    keep: is given what is new, after each part, with its name. One that fails does not take the others with it.
    """
    if not is_tiny and not torch.cuda.is_available():
        return {"left_out": "there is no CUDA device"}
    device = torch.device("cpu" if is_tiny else "cuda")
    if is_tiny:
        torch.set_num_threads(default_cpu_threads())  # as the engine does
        warm_up.SIDE_IN_BATCHES = TINY_SIDE
    rounds = rounds or (1 if is_tiny else 5)
    figures: Figures = {"device": "cpu" if is_tiny else torch.cuda.get_device_name(device), "rounds": rounds}
    chosen = [each for each in SETTINGS if each.name in settings]
    served = [way for way in WAYS[: 1 if is_tiny else None] if way.name in ways]
    for name, found in _parts(is_tiny, parts, models, chosen, served, device, rounds):
        figures |= found
        keep(name, {"device": figures["device"], "rounds": rounds} | found)
    return figures


def _parts(
    is_tiny: bool,
    parts: Sequence[str],
    models: Sequence[str],
    settings: Sequence[Setting],
    ways: Sequence[Way],
    device: torch.device,
    rounds: int,
) -> Iterator[tuple[str, Figures]]:
    for model in models:
        cases = [case for case in CASES if case.model == model]
        if is_tiny:
            cases = list(dict.fromkeys(map(tiny, cases)))
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent, model)
            folder.mkdir()
            write_configs(model, folder, tiny=is_tiny)
            if "models" in parts:
                yield from _of_model(folder, cases, device, settings, rounds)
            if "server" in parts and model == SERVED:
                first = cases[0]
                for way in ways:

                    def served(way: Way = way, folder: Path = folder, first: Case = first) -> Figures:
                        return measure_served(
                            folder, way=way, side=first.side, steps=first.steps, device=device, rounds=rounds
                        )

                    yield _unless_it_fails(f"served_{way.name}", served)
    if "upscaler" in parts:
        side, blocks = (32, 2) if is_tiny else (1024, 23)
        yield _unless_it_fails("x4plus", lambda: measure_upscaler(device, side=side, blocks=blocks, rounds=rounds))


def _unless_it_fails(name: str, find: Callable[[], Figures]) -> tuple[str, Figures]:
    """With the name."""
    try:
        return name, find()
    except EngineFailure as failure:
        return name, {f"{name}_left_out": failure.public_message}
    except Exception as error:  # whatever it is: the rest of an hour is not lost for it
        traceback.print_exc()
        return name, {f"{name}_left_out": f"it failed: {type(error).__name__}"}


def _of_model(
    folder: Path, cases: Sequence[Case], device: torch.device, settings: Sequence[Setting], rounds: int
) -> Iterator[tuple[str, Figures]]:
    plain: dict[str, Pictures] = {}

    def by_diffusers() -> Figures:
        made = plain_pictures(folder, cases, device, rounds)
        plain.update({case.name: each for case, each in zip(cases, made, strict=True)})
        return {key: figure for name in plain for key, figure in _figures(f"{name}_plain", plain[name]).items()}

    yield _unless_it_fails(f"{folder.name}_plain", by_diffusers)
    free(device)
    reference: dict[str, Pictures] = {}
    totals: dict[str, dict[str, float]] = {case.name: {} for case in cases}  # seconds, by setting

    def by_danqing(setting: Setting) -> Figures:
        made = _of_setting(folder, cases, device, setting, rounds)
        if isinstance(made, str):
            return {f"{folder.name}_{setting.name}_left_out": made}
        figures: Figures = {}
        for name, pictures in made.items():
            figures |= _figures(f"{name}_{setting.name}", pictures, plain.get(name))
            totals[name][setting.name] = pictures.total_s
            if setting.name == REFERENCE:
                reference[name] = pictures
            elif name in reference:
                figures |= _differences(f"{name}_{setting.name}", reference[name].rgb, pictures.rgb)
        return figures

    for setting in settings:
        yield _unless_it_fails(f"{folder.name}_{setting.name}", partial(by_danqing, setting))
        free(device)
    yield f"{folder.name}_ratios", _ratios(plain, totals)


def _ratios(plain: Mapping[str, Pictures], totals: Mapping[str, Mapping[str, float]]) -> Figures:
    """Of each case that plain diffusers made. totals: seconds, by setting."""
    figures: Figures = {}
    for name, seconds in totals.items():
        if not seconds or name not in plain:
            continue
        best = min(seconds, key=lambda setting: seconds[setting])
        figures[f"{name}_best_setting"] = best
        figures[f"{name}_ratio"] = round(plain[name].total_s / seconds[best], 3)
        figures[f"{name}_goal_ratio"] = GOAL
        for setting in (REFERENCE, f"{REFERENCE}_compiled"):  # with the numbers that plain diffusers has
            if setting in seconds:
                figures[f"{name}_{setting}_times_plain"] = round(plain[name].total_s / seconds[setting], 3)
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


def _figures(name: str, pictures: Pictures, plain: Pictures | None = None) -> Figures:
    """plain: of the same case; it has counted what a run of the transformer multiplies. None: these are, or there are
    none.
    """
    medians = {stage: statistics.median(each) for stage, each in pictures.stages.items()}
    figures: Figures = {f"{name}_{stage}_ms": round(1000 * medians[stage], 2) for stage in STAGES}
    figures[f"{name}_total_ms"] = round(1000 * pictures.total_s, 2)
    if flops := (plain or pictures).flops:
        done = flops * pictures.forwards / medians["denoise"]
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
        return figures | {f"{name}_lpips": "left out: the package `lpips`, or its network, is not there"}
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
    parser.add_argument("--way", choices=ALL_WAYS, action="append", help="of serving; repeatable (all)")
    parser.add_argument("--rounds", type=int, help="pictures of each case (5)")
    parser.add_argument("--out", type=Path, help="write the figures there as well")
    parser.add_argument("--keep", type=Path, nargs="?", const=RESULT, help="a file like those in bench/results")
    args = parser.parse_args()
    said = time.monotonic()

    def keep(part: str, found: Figures) -> None:
        nonlocal said
        began, said = said, time.monotonic()
        if args.keep is not None:
            Kept(args.keep, device=str(found["device"]), shown=as_tables).add(part, found, seconds=said - began)

    figures = measured(
        is_tiny=args.tiny,
        parts=args.part or PARTS,
        models=args.model or tuple(FULL),
        settings=args.setting or ALL_SETTINGS,
        ways=args.way or ALL_WAYS,
        rounds=args.rounds,
        keep=keep,
    )
    text = json.dumps(figures, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
