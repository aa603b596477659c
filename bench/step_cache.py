"""Pictures with a step cache beside the same ones without it, in one run: seconds, runs cut short, and likeness.

Each threshold makes the same pictures in turn with no cache, so that what else the machine does bears on both; of the
times the least counts. PSNR compares with the pictures made without, in dB: 30 is visible side by side, 50 is not.

    python bench/step_cache.py                                    the sample edit model, at many more steps than usual
    python bench/step_cache.py --model flux1-dev --device cuda    another one, where its weights are
"""

import argparse
import dataclasses
import io
import logging
import re
import time
from collections.abc import Sequence

import numpy as np
import structlog
from PIL import Image, ImageDraw

from danqing.core.capabilities import ModelCard
from danqing.core.engine_port import Denoised, Engine, Unwatched
from danqing.core.images import ImageRef
from danqing.core.types import GenerationRequest, Mode, RawPicture
from danqing.engine.build import build_engine
from danqing.engine.known_models import KnownModels
from danqing.engine.spec import EngineSpec

PROMPT = "pizza on a blue background"
EDIT = "make the background blue"
SAMPLE_STEPS = 28  # as many as FLUX.1-dev takes
THRESHOLDS = (0.02, 0.05, 0.1, 0.2)
CUT_SHORT = re.compile(r"step cache: (\d+) of (\d+) runs")


def begun_with(side: int) -> bytes:
    """A PNG: a red disc on grey."""
    picture = Image.new("RGB", (side, side), (150, 150, 150))
    ImageDraw.Draw(picture).ellipse([side // 4, side // 4, side * 3 // 4, side * 3 // 4], fill=(200, 40, 40))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def request_of(card: ModelCard, *, side: int, steps: int) -> GenerationRequest:
    """From words where the model can, else an edit of `begun_with`."""
    words = Mode.TEXT2IMG in card.capabilities.modes
    image = ImageRef(name="begun-with.png", width=side, height=side)
    return GenerationRequest(
        model=card.id,
        mode=Mode.TEXT2IMG if words else Mode.EDIT,
        prompt=PROMPT if words else EDIT,
        negative_prompt="",
        width=side,
        height=side,
        num_inference_steps=steps,
        guidance_scale=card.defaults.guidance_scale,
        seed=0,
        input_images=() if words else (image,),
    )


def picture(engine: Engine, request: GenerationRequest) -> tuple[float, RawPicture]:
    """Seconds, and what was made."""
    started = time.perf_counter()
    (raw,) = engine.denoise([request], read_image=lambda ref: begun_with(ref.width), observers=[Unwatched()])
    if not isinstance(raw, Denoised):
        raise RuntimeError(f"no picture: {raw}")
    made = raw.computed()
    return time.perf_counter() - started, made


def cut_short(pictures: Sequence[RawPicture]) -> tuple[int, int]:
    """How many runs of the transformer were, and of how many."""
    said = [CUT_SHORT.match(adjustment) for each in pictures for adjustment in each.adjustments]
    counts = [(int(match[1]), int(match[2])) for match in said if match]
    return sum(count[0] for count in counts), sum(count[1] for count in counts)


def psnr(pictures: Sequence[RawPicture], others: Sequence[RawPicture]) -> float:
    """Over all of them, in dB; infinite for equal ones."""
    levels = [np.frombuffer(b"".join(each.rgb for each in some), np.uint8).astype(float) for some in (pictures, others)]
    error = float(np.mean((levels[0] - levels[1]) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def measure(quick: bool) -> dict[str, object]:
    """The sample edit model on the CPU."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    card = KnownModels().find("sample-edit")
    return compared(
        card,
        device="cpu",
        side=128,
        steps=SAMPLE_STEPS,
        rounds=1 if quick else 4,
        thresholds=THRESHOLDS,
        compiled=False,
    )


def compared(
    card: ModelCard, *, device: str, side: int, steps: int, rounds: int, thresholds: Sequence[float], compiled: bool
) -> dict[str, object]:
    """Prints a line for each threshold; returns the figures."""
    found: dict[str, object] = {}
    engine = build_engine(EngineSpec(cards=(card,), device=device, compile=compiled))
    engine.load()
    plain = request_of(card, side=side, steps=steps)
    picture(engine, plain)  # its prompt is remembered from now on
    print(f"{card.id}, {side}x{side}, {steps} steps, {rounds} pictures, {engine.device().name}")
    print(f"{'threshold':<10}{'s/picture':>11}{'without':>10}{'ratio':>8}{'cut short':>14}{'PSNR dB':>9}")
    for threshold in thresholds:
        without: list[tuple[float, RawPicture]] = []
        cached: list[tuple[float, RawPicture]] = []
        for seed in range(rounds):
            without.append(picture(engine, dataclasses.replace(plain, seed=seed)))
            cached.append(picture(engine, dataclasses.replace(plain, seed=seed, step_cache=threshold)))
        beside, own = (min(seconds for seconds, _ in each) for each in (without, cached))
        pictures, others = ([made for _, made in each] for each in (cached, without))
        short, runs = cut_short(pictures)
        print(
            f"{threshold:<10g}{own:>11.3f}{beside:>10.3f}{own / beside:>8.2f}{f'{short} of {runs}':>14}"
            f"{psnr(pictures, others):>9.1f}"
        )
        found[f"threshold {threshold:g}"] = {
            "s_a_picture": round(own, 3),
            "without_s": round(beside, 3),
            "ratio": round(own / beside, 2),
            "cut_short": f"{short} of {runs}",
            "psnr_db": round(psnr(pictures, others), 1),
        }
    return found


def main() -> None:
    """Reads the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sample-edit", help="an id, a folder, or a hub id (sample-edit)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N (cpu)")
    parser.add_argument("--side", type=int, help="pixels each way (128 for the sample, else the model's default)")
    parser.add_argument("--steps", type=int, help=f"denoising steps ({SAMPLE_STEPS} for the sample, else the model's)")
    parser.add_argument("--rounds", type=int, default=4, help="pictures of each threshold (4)")
    parser.add_argument("--threshold", type=float, action="append", help="repeatable (0.02, 0.05, 0.1, 0.2)")
    parser.add_argument("--compile", action="store_true", help="as ENABLE_MODEL_COMPILE does")
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    card = KnownModels().find(args.model)
    is_sample = card.id.startswith("sample")
    compared(
        card,
        device=args.device,
        side=args.side or (128 if is_sample else card.defaults.width),
        steps=args.steps or (SAMPLE_STEPS if is_sample else card.defaults.num_inference_steps),
        rounds=args.rounds,
        thresholds=args.threshold or THRESHOLDS,
        compiled=args.compile,
    )


if __name__ == "__main__":
    main()
