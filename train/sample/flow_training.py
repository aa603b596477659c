"""What the flow-matching trainings share: noise levels, the two optimisers, the number format that is quick here."""

import contextlib
import re
from collections.abc import Iterator

import torch
from batched_muon import BatchedMuon, quick_bf16
from torch import Tensor, nn
from torch._inductor import config as inductor

BLOCKS = re.compile(r"(layers|refiner|blocks)\.")
MODULATION = re.compile(r"adaLN|_mod\.")


@contextlib.contextmanager
def autocast() -> Iterator[None]:
    """bf16 where this CPU multiplies it in hardware; elsewhere it would be slower than float32, which stays then."""
    with torch.autocast("cpu", torch.bfloat16, enabled=quick_bf16()):
        yield


def compiled(module: nn.Module) -> nn.Module:
    """torch.compile without its search for attention to fuse, which fails on float32; plain products are meant."""
    inductor.pattern_matcher = False
    return torch.compile(module)  # type: ignore[return-value]


def draw_sigma(count: int, nearly: float = 0.3) -> Tensor:
    """Noise levels to train at, (count,), in 0 to 1.

    Where some of the picture shows through, a network can denoise without reading the caption; only almost pure noise
    teaches what a word looks like. So three in ten (or `nearly`) are above 0.9, and the rest lean that way too.
    """
    leaning = torch.sigmoid(torch.randn(count) * 1.2 + 0.6)
    return torch.where(torch.rand(count) < nearly, 1 - 0.1 * torch.rand(count), leaning)


class Optimizers:
    """Muon for the matrices inside the blocks, AdamW for everything else, under one learning rate."""

    def __init__(self, trained: nn.Module, lr: float, heads: nn.Module | None = None) -> None:
        named = [(name, p) for name, p in trained.named_parameters() if p.requires_grad]
        inner = {id(p) for name, p in named if p.ndim == 2 and BLOCKS.search(name) and not MODULATION.search(name)}
        left = {id(p) for p in heads.parameters()} if heads else set[int]()
        groups = (
            [p for _, p in named if id(p) not in inner and id(p) not in left],
            [p for _, p in named if id(p) in left],
        )
        self.parts: list[torch.optim.Optimizer] = [BatchedMuon([p for _, p in named if id(p) in inner], lr=lr)]
        self.parts += [torch.optim.AdamW(g, lr=lr, weight_decay=0.01, betas=(0.9, 0.98)) for g in groups if g]

    def step(self, lr: float) -> None:
        """One update at this learning rate; gradients are cleared."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = lr
            part.step()
            part.zero_grad(set_to_none=True)

    def state(self) -> list[dict[str, object]]:
        """For `restore`."""
        return [part.state_dict() for part in self.parts]

    def restore(self, state: list[dict[str, object]]) -> None:
        """Takes up what `state` gave."""
        for part, saved in zip(self.parts, state, strict=False):
            part.load_state_dict(saved)
