"""Real-ESRGAN's x4plus on a device, with random weights: eager, channels last, and compiled."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from danqing.engine.upscale.networks import RrdbNetwork

FEATURES, GROWTH = 64, 32  # of x4plus


def measure_upscaler(device: torch.device, *, side: int, blocks: int, rounds: int) -> dict[str, Any]:
    """Milliseconds for a picture of so many pixels each way, in one tile. Each way in turn, in every round."""
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    torch.manual_seed(0)
    network = RrdbNetwork(FEATURES, GROWTH, blocks).eval().requires_grad_(False).to(device, dtype)
    last = RrdbNetwork(FEATURES, GROWTH, blocks).eval().requires_grad_(False).to(device, dtype)
    last.load_state_dict(network.state_dict())
    last.to(memory_format=torch.channels_last)
    picture = torch.rand((1, 3, side, side), device=device, dtype=dtype)
    ways: dict[str, tuple[Callable[..., Any], torch.Tensor]] = {
        "eager": (network, picture),
        "channels_last": (last, picture.to(memory_format=torch.channels_last)),
        "compiled": (_compiled(last), picture.to(memory_format=torch.channels_last)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        for number in range(rounds + 1):
            for name, (way, given) in ways.items():
                started = _now(device)
                way(given)
                if number:
                    seconds[name].append(_now(device) - started)
    figures = {f"x4plus_{side}_{name}_ms": round(1000 * statistics.median(each), 2) for name, each in seconds.items()}
    eager = statistics.median(seconds["eager"])
    return figures | {
        f"x4plus_{side}_{name}_ratio": round(eager / statistics.median(each), 3)
        for name, each in seconds.items()
        if name != "eager"
    }


def _compiled(network: nn.Module) -> Callable[..., Any]:
    return torch.compile(network, dynamic=False)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
