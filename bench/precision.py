"""Each precision of a model beside the native one, in one run: seconds a picture, bytes of weights, and likeness.

Every precision makes the same pictures in turn with the native model, so that what else the machine does bears on both;
of the times the least counts. PSNR compares with the native pictures, in dB: 30 is visible side by side, 50 is not.

    python bench/precision.py                                            the sample model on the CPU
    python bench/precision.py --model z-image-turbo --device cuda        another one, where its weights are

A precision that cannot be here (a package or a GPU that is missing) is left out, and why is said.
"""

import argparse
import dataclasses
import gc
import logging
import time
from collections.abc import Sequence
from typing import cast, get_args

import numpy as np
import structlog
import torch

from danqing.core.capabilities import ModelCard, Precision
from danqing.core.engine_port import Denoised, Engine, Unwatched
from danqing.core.errors import EngineFailure
from danqing.core.images import ImageRef
from danqing.core.resolve import resolve
from danqing.core.types import RawPicture, RequestDraft
from danqing.engine.build import build_engine
from danqing.engine.families import loading
from danqing.engine.families.placement import networks, weights_bytes
from danqing.engine.known_models import KnownModels
from danqing.engine.spec import EngineSpec

PROMPT = "pizza on a blue background"
ALL = cast(Sequence[Precision], get_args(Precision))


class Loaded:
    """An engine with one model, and what its weights take."""

    def __init__(self, card: ModelCard, *, device: str, compiled: bool) -> None:
        self._card = card
        self._cuda = device != "cpu" and torch.cuda.is_available()
        self.weights: dict[str, int] = {}
        self.engine: Engine = build_engine(EngineSpec(cards=(card,), device=device, compile=compiled))
        place = loading.place

        def watched(pipeline: object, *args: object, **kwargs: object) -> object:
            self.weights = {name: weights_bytes(network) for name, network in networks([pipeline]).items()}
            return place(pipeline, *args, **kwargs)  # type: ignore[arg-type]

        loading.place = watched  # type: ignore[assignment]
        try:
            self.engine.load()
        finally:
            loading.place = place

    def picture(self, seed: int, side: int, steps: int | None) -> tuple[float, RawPicture]:
        """Seconds, and what was made."""
        draft = RequestDraft(prompt=PROMPT, width=side, height=side, num_inference_steps=steps, seed=seed)
        request = resolve(draft, self._card)
        started = time.perf_counter()
        (raw,) = self.engine.denoise([request], read_image=no_image, observers=[Unwatched()])
        if not isinstance(raw, Denoised):
            raise RuntimeError(f"no picture: {raw}")
        made = raw.computed()
        return time.perf_counter() - started, made

    def close(self) -> None:
        """Gives the memory back."""
        self.engine.unload()
        gc.collect()
        if self._cuda:
            torch.cuda.empty_cache()


def no_image(ref: ImageRef) -> bytes:
    """The pictures here begin with no other."""
    raise AssertionError(ref)


def psnr(pictures: Sequence[RawPicture], others: Sequence[RawPicture]) -> float:
    """Over all of them, in dB; infinite for equal ones."""
    levels = [np.frombuffer(b"".join(each.rgb for each in some), np.uint8).astype(float) for some in (pictures, others)]
    error = float(np.mean((levels[0] - levels[1]) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def measure(quick: bool) -> dict[str, object]:
    """The sample model on the CPU."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    card = KnownModels().find("sample")
    return compared(card, device="cpu", side=128, steps=None, rounds=1 if quick else 5, precisions=ALL, compiled=False)


def compared(
    card: ModelCard,
    *,
    device: str,
    side: int,
    steps: int | None,
    rounds: int,
    precisions: Sequence[Precision],
    compiled: bool,
) -> dict[str, object]:
    """Prints a line for each precision that can be here; returns the figures."""
    native = Loaded(dataclasses.replace(card, precision="native"), device=device, compiled=compiled)
    device_name = native.engine.device().name
    print(f"{card.id}, {side}x{side}, {rounds} pictures, {device_name}, torch {torch.__version__}")
    headings = f"{'s/picture':>11}{'native beside':>15}{'ratio':>8}{'weights MB':>12}{'of native':>11}{'PSNR dB':>9}"
    print(f"{'precision':<14}{headings}")
    total = sum(native.weights.values())
    found: dict[str, object] = {}
    for precision in precisions:
        if precision == "native":
            continue
        try:
            other = Loaded(dataclasses.replace(card, precision=precision), device=device, compiled=compiled)
        except EngineFailure as failure:
            print(f"{precision:<14} left out: {failure.public_message}")
            found[precision] = f"left out: {failure.public_message}"
            continue
        both = [(native.picture(seed, side, steps), other.picture(seed, side, steps)) for seed in range(rounds)]
        beside, own = (min(pair[i][0] for pair in both) for i in (0, 1))
        likeness = psnr([pair[0][1] for pair in both], [pair[1][1] for pair in both])
        size = sum(other.weights.values())
        print(
            f"{precision:<14}{own:>11.3f}{beside:>15.3f}{own / beside:>8.2f}{size / 1e6:>12.1f}{size / total:>11.2f}"
            f"{likeness:>9.1f}"
        )
        parts = ", ".join(
            f"{name} {taken / 1e6:.1f} of {native.weights[name] / 1e6:.1f}" for name, taken in other.weights.items()
        )
        print(f"{'':<14} MB: {parts}")
        found[precision] = {
            "s_a_picture": round(own, 3),
            "native_s_beside": round(beside, 3),
            "ratio": round(own / beside, 2),
            "weights_of_native": round(size / total, 2),
            "psnr_db": round(likeness, 1),
        }
        other.close()
    native.close()
    return found


def main() -> None:
    """Reads the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sample", help="an id, a folder, or a hub id (sample)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N (cpu)")
    parser.add_argument("--side", type=int, help="pixels each way (what the model makes of the default size)")
    parser.add_argument("--steps", type=int, help="denoising steps (the model's default)")
    parser.add_argument("--rounds", type=int, default=5, help="pictures of each precision (5)")
    parser.add_argument("--precision", choices=ALL, action="append", help="repeatable (all)")
    parser.add_argument(
        "--compile", action="store_true", help="compile the transformer's blocks, as ENABLE_MODEL_COMPILE does"
    )
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    card = KnownModels().find(args.model)
    side = args.side or (128 if card.id.startswith("sample") else card.defaults.width)
    compared(
        card,
        device=args.device,
        side=side,
        steps=args.steps,
        rounds=args.rounds,
        precisions=args.precision or ALL,
        compiled=args.compile,
    )


if __name__ == "__main__":
    main()
