"""Enlarging a picture four times each way: seconds and memory of ncnn and torch, and how much their pictures differ.

`python bench/upscaling.py [UPSCALER [SIDE]]`, the former as in `DANQING_UPSCALER`. Each runs in a process of its own,
whose largest memory is counted whole, libraries and both pictures included.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from encoding import scenes

from danqing.engine.device import choose_device
from danqing.engine.upscale.building import build_upscaler, upscaler_by_torch
from danqing.engine.upscale.choice import find_upscaler


def measure(quick: bool) -> dict[str, float]:
    """See `compared`."""
    return compared(128 if quick else 1024)


def compared(side: int = 1024, upscaler: str = "animevideov3") -> dict[str, float]:
    """Of each way that there is on this machine; the difference on average, in steps of 255, to ncnn's picture."""
    figures: dict[str, float] = {"side": side}
    ways = ["torch_cpu"] if find_upscaler(upscaler).for_spandrel else ["ncnn_cpu", "torch_cpu"]
    ways += ["torch_cuda"] if torch.cuda.is_available() else []
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, np.ndarray] = {}
        for way in ways:
            out = Path(folder, f"{way}.npy")
            command = [sys.executable, __file__, "--one", way, upscaler, str(side), str(out)]
            child = subprocess.run(command, capture_output=True, text=True, check=True)
            figures |= {f"{way}_{name}": value for name, value in json.loads(child.stdout).items()}
            made[way] = np.load(out)
    for way in ways[1:]:
        figures[f"{way}_times_faster"] = round(figures[f"{ways[0]}_s"] / figures[f"{way}_s"], 2)
        figures[f"{way}_differs"] = round(float(np.abs(made[way].astype(np.int16) - made[ways[0]]).mean()), 4)
    return figures


def _one(way: str, wanted: str, side: int, out: str) -> None:
    """Prints the figures of one way as JSON and keeps its picture."""
    device = choose_device("cuda" if way == "torch_cuda" else "cpu", "auto")
    found = find_upscaler(wanted)
    if way == "torch_cpu" and not found.for_spandrel:
        upscaler = upscaler_by_torch(found, device)
    else:
        upscaler = build_upscaler(wanted, device, cpu_threads=1)
    rgb = scenes(side)["photo"]
    if device.is_cuda:
        upscaler.enlarge(rgb)  # CUDA's own start is not the upscaler's
    started = time.perf_counter()
    enlarged = upscaler.enlarge(rgb)
    figures = {"s": round(time.perf_counter() - started, 3)}
    figures["peak_host_gib"] = round(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2
    )  # from KiB, on Linux
    if device.is_cuda:
        figures["peak_device_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    np.save(out, enlarged)
    print(json.dumps(figures))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        _one(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
    else:
        given = sys.argv[1:]
        print(json.dumps(compared(int(given[1]) if len(given) > 1 else 1024, given[0] if given else "animevideov3")))
