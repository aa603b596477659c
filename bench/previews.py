"""What a preview after every step adds to a step: without, with, and with the whole autoencoder, in the same run.

The sample model on a CPU by default; any other by its name, such as `--model z-image-turbo --side 1024` on a GPU. The
JPEG that a client gets is part of a preview.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from danqing.core.capabilities import ModelCard
from danqing.core.engine_port import Engine
from danqing.core.images import ImageRef
from danqing.core.resolve import resolve
from danqing.core.types import EncodedPicture, RequestDraft
from danqing.engine.build import build_engine
from danqing.engine.catalogue import Catalogue
from danqing.engine.spec import EngineSpec

PROMPT = "pizza on a blue background"
OWN_NETWORK = "preview_decoder"  # a folder of the checkpoint; the sample's latents have no linear map to colours


@dataclass
class Clock:
    """An observer that notes how long each step took, with its preview; not the first, with what comes before it, nor
    the last, which has no preview.
    """

    previews: bool
    ticks: list[float] = field(default_factory=list[float])

    def step_done(self, step: int, total_steps: int) -> None:
        if step < total_steps:
            self.ticks.append(time.perf_counter())

    def stopped(self) -> bool:
        return False

    def wants_preview(self) -> bool:
        return self.previews

    def preview_made(self, step: int, total_steps: int, picture: EncodedPicture) -> None:
        pass

    def steps_ms(self) -> list[float]:
        return [(after - before) * 1e3 for before, after in zip(self.ticks, self.ticks[1:], strict=False)]


def no_image(ref: ImageRef) -> bytes:
    """The pictures here begin with no other."""
    raise AssertionError(ref)


def loaded(card: ModelCard, device: str) -> Engine:
    """The engine with that one model."""
    engine = build_engine(EngineSpec(cards=(card,), device=device))
    engine.load()
    return engine


def steps_ms(engine: Engine, card: ModelCard, side: int, seed: int, *, previews: bool) -> list[float]:
    """Of one picture with the model's usual number of steps."""
    clock = Clock(previews)
    request = resolve(RequestDraft(prompt=PROMPT, width=side, height=side, seed=seed), card)
    engine.denoise([request], read_image=no_image, observers=[clock])
    return clock.steps_ms()


def measure(quick: bool) -> dict[str, float]:
    """The sample model."""
    return compared(3 if quick else 20)


def compared(rounds: int, model: str = "sample", side: int = 128) -> dict[str, float]:
    """Milliseconds of a step, medians, and ratios."""
    card = Catalogue(model).default()
    device = "cpu" if model == "sample" else "auto"
    with tempfile.TemporaryDirectory() as folder:
        engine = loaded(card, device)
        ways = {"step": (engine, card, False), "step_with_preview": (engine, card, True)}
        if Path(card.source, OWN_NETWORK).is_dir():
            without = replace(card, source=str(Path(folder, card.id)))
            shutil.copytree(card.source, without.source, ignore=shutil.ignore_patterns(OWN_NETWORK))
            ways["step_with_whole_autoencoder"] = (loaded(without, device), without, True)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for seed in range(1 + rounds):
            for name, (made_by, of, previews) in ways.items():
                took = steps_ms(made_by, of, side, seed, previews=previews)
                if seed:  # the first ones warm up
                    times[name] += took
    p50 = {name: statistics.median(values) for name, values in times.items()}
    figures: dict[str, float] = {"rounds": rounds, "side": side}
    figures |= {f"{name}_p50_ms": round(value, 2) for name, value in p50.items()}
    for name in list(p50)[1:]:
        figures[f"{name}_over_step"] = round(p50[name] / p50["step"], 3)
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sample", help="as `danqing serve --model` takes it")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=12)
    args = parser.parse_args()
    print(compared(args.rounds, args.model, args.side))
