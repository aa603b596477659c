"""An autoencoder with its numbers channels last beside the same one without, in one run: seconds to decode and encode.

Both work in turn, so that what else the machine does bears on both; of the times the least counts.

    python bench/vae_format.py                                      the sample model's on the CPU
    python bench/vae_format.py --folder PATH --device cuda          another checkpoint's, which has an AutoencoderKL
"""

import argparse
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from danqing.engine.known_models import KnownModels


def least_seconds(calls: Mapping[str, Callable[[], object]], *, rounds: int, device: torch.device) -> dict[str, float]:
    """Of each call, which are made in turn; the first of each does not count."""
    least = dict.fromkeys(calls, float("inf"))
    for number in range(rounds + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number:
                least[name] = min(least[name], time.perf_counter() - started)
    return least


def measure(quick: bool) -> dict[str, dict[str, float]]:
    """The sample model's, by size and direction."""
    torch.set_num_threads(1)
    folder, sides = KnownModels().find("sample").source, [128] if quick else [128, 512]
    return compared(folder, device=torch.device("cpu"), sides=sides, rounds=2 if quick else 6)


@torch.inference_mode()
def compared(folder: str, *, device: torch.device, sides: list[int], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of both, and their ratio, for each size and direction."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    source: Any = AutoencoderKL  # diffusers is not typed
    plain, last = (
        source.from_pretrained(folder, subfolder="vae", torch_dtype=dtype).to(device).eval() for _ in range(2)
    )
    last.to(memory_format=torch.channels_last)
    scale = 2 ** (len(plain.config.block_out_channels) - 1)
    found: dict[str, dict[str, float]] = {}
    for side in sides:
        latents = torch.randn(
            (1, plain.config.latent_channels, side // scale, side // scale), device=device, dtype=dtype
        )
        image = torch.rand((1, 3, side, side), device=device, dtype=dtype) * 2 - 1
        for word, given in (("decode", latents), ("encode", image)):
            calls = {name: partial(getattr(vae, word), given) for name, vae in (("plain", plain), ("last", last))}
            least = least_seconds(calls, rounds=rounds, device=device)
            found[f"{word} {side}"] = {
                "contiguous_ms": round(1000 * least["plain"], 1),
                "channels_last_ms": round(1000 * least["last"], 1),
                "ratio": round(least["last"] / least["plain"], 3),
            }
    return found


def main() -> None:
    """Reads the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", help="a checkpoint in the diffusers layout (the sample model)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N (cpu)")
    parser.add_argument("--side", type=int, action="append", help="pixels each way; repeatable (128, 512)")
    parser.add_argument("--rounds", type=int, default=6, help="of each (6)")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU (1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folder = args.folder or KnownModels().find("sample").source
    found = compared(folder, device=torch.device(args.device), sides=args.side or [128, 512], rounds=args.rounds)
    print(f"{'':<14}{'contiguous ms':>15}{'channels last ms':>18}{'ratio':>8}")
    for name, (plain_ms, last_ms, ratio) in ((name, each.values()) for name, each in found.items()):
        print(f"{name:<14}{plain_ms:>15.1f}{last_ms:>18.1f}{ratio:>8.2f}")


if __name__ == "__main__":
    main()
