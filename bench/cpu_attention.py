"""Attention by matrix products beside PyTorch's own kernel, in bfloat16 on one core of a CPU; and whole pictures.

Both work in turn, so that what else the machine does bears on both.

    python bench/cpu_attention.py [--quick]
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from comparison import Findings, over_rounds
from cpu_engine import PROMPT, STEPS
from precision import no_image
from report import LEFT_OUT, told
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from danqing.core.engine_port import Denoised, Engine, ReadImage, Unwatched
from danqing.core.resolve import resolve
from danqing.core.types import GenerationRequest, RequestDraft
from danqing.engine.build import build_engine
from danqing.engine.catalogue import Catalogue
from danqing.engine.device import choose_device
from danqing.engine.matmul_attention import attend
from danqing.engine.spec import Attention, EngineSpec

# pictures, tokens, heads, head_size: the sample model's, one picture and four; and of wider ones at 512 pixels.
SHAPES = ((1, 96, 3, 64), (4, 96, 3, 64), (1, 288, 3, 64), (1, 1056, 3, 64), (1, 1056, 30, 128))
SIDE = 128  # pixels
MOST_CALLS, MOST_S = 50, 0.5  # of each round
PEER = "PyTorch's kernel"


def measure(quick: bool) -> dict[str, object]:
    """Each shape, and the sample model's pictures."""
    if choose_device("cpu", "auto").dtype is not torch.bfloat16:
        return {LEFT_OUT: "this machine's cores do not multiply bfloat16, so models are computed in float32"}
    found = Findings()
    rounds = 2 if quick else 5
    makers = {name: picture_maker(name) for name in ("matmul", "native")}  # first: memory is then as in a worker
    ours, its_own = (over_rounds(times) for times in in_turn(makers, rounds).values())
    what = f"a picture of the sample model, {SIDE}x{SIDE}"
    found.compare(what, ours, PEER, its_own, "ms", better="less", goal=None)
    for shape in SHAPES:
        pictures, tokens, heads, head_size = shape
        given = tuple(torch.randn((pictures, tokens, heads, head_size)).to(torch.bfloat16) for _ in range(3))
        with torch.inference_mode():
            times = in_turn({"ours": partial(attend, *given), "its": partial(its, *given)}, rounds)
        ours, its_own = (over_rounds(each) for each in times.values())
        what = f"attention, {pictures} x {tokens} tokens, {heads} heads of {head_size}"
        found.compare(what, ours, PEER, its_own, "ms", better="less")
    return found.as_dict()


def its(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """As diffusers calls it."""
    turned = (each.transpose(1, 2) for each in (query, key, value))
    return scaled_dot_product_attention(*turned).transpose(1, 2)


def in_turn(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of a call, the median of each round; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            median_ms = _median_ms(way)
            if number:
                times[name].append(median_ms)
    return times


def _median_ms(way: Callable[[], object]) -> float:
    taken: list[float] = []
    while len(taken) < MOST_CALLS and sum(taken) < 1000 * MOST_S:
        started = time.perf_counter()
        way()
        taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken)


def picture_maker(attention: Attention) -> Callable[[], None]:
    """See `maker_of`; with the sample model."""
    card = Catalogue("sample").default()
    engine = build_engine(EngineSpec(cards=(card,), device="cpu", cpu_threads=1, attention=attention))
    engine.load()
    request = resolve(RequestDraft(prompt=PROMPT, width=SIDE, height=SIDE, num_inference_steps=STEPS, seed=1), card)
    return maker_of(engine, request, no_image)


def maker_of(engine: Engine, request: GenerationRequest, read_image: ReadImage) -> Callable[[], None]:
    """Makes the picture, computes its pixels and throws them away."""

    def make() -> None:
        (raw,) = engine.denoise([request], read_image=read_image, observers=[Unwatched()])
        if not isinstance(raw, Denoised):
            raise RuntimeError(f"no picture: {raw}")
        raw.computed()

    return make


def main(arguments: Sequence[str]) -> None:
    """Prints what was found."""
    print("\n".join(told(measure("--quick" in arguments))))


if __name__ == "__main__":
    main(sys.argv[1:])
