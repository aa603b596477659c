"""What was found on a GPU, kept after each part: it takes an hour, and a machine may be lent for minutes.

Later runs on the same kind of device add to what is there, so parts, models and settings may be taken one by one.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from machine import machine
from run import BENCHMARKS, keep

GPU_ENGINE = next(benchmark for benchmark in BENCHMARKS if benchmark.module == "gpu_engine")
NOTES = (
    "Random weights in the published shapes: speed and memory are the real models', pictures are not. Shares of the "
    "peak are of 989 TFLOP/s, an H100's in bfloat16, whatever a setting computes in.",
    "LPIPS needs the package `lpips` and its network. SDNQ multiplies in 16 bits here, as Danqing has it do; its own "
    "multiplication is no setting of Danqing's. Real-ESRGAN takes the whole picture as one tile.",
)


def nested(figures: Mapping[str, Any], cases: Sequence[str], settings: Sequence[str]) -> dict[str, Any]:
    """A table for each case, with a row a setting; the rest as it is."""
    found: dict[str, Any] = {}
    longest_first = sorted(settings, key=len, reverse=True)
    for name, value in figures.items():
        case = next((each for each in cases if name.startswith(f"{each}_")), None)
        rest = name.removeprefix(f"{case}_")
        setting = next((each for each in longest_first if rest.startswith(f"{each}_")), None)
        if case is None or setting is None:
            found[name] = value
        else:
            found.setdefault(case, {}).setdefault(setting, {})[rest.removeprefix(f"{setting}_")] = value
    return found


class Kept:
    """In a file of `bench/results`, whose page has tables (`shown`) of what is kept flat beside them."""

    def __init__(self, file: Path, *, device: str, shown: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        """What the file has of another kind of device is not added to."""
        self._file, self._shown = file, shown
        self._flat: dict[str, Any] = {"device": device}
        self._seconds = 0.0
        if file.exists():
            before = json.loads(file.read_text())
            if before.get("flat", {}).get("device") == device:
                self._flat, self._seconds = before["flat"], before["seconds"]

    def add(self, part: str, found: Mapping[str, Any], *, seconds: float) -> None:
        """seconds: that this part took."""
        self._flat.pop(f"{part}_left_out", None)
        self._flat |= {name: value for name, value in found.items() if name != "rounds"}  # which parts differ in
        self._seconds += seconds
        kept = {
            "seconds": round(self._seconds, 1),
            "others_cores": 0.0,  # which says nothing of a GPU
            "machine": machine(),
            "found": {**self._shown(self._flat), "notes": [*NOTES]},
            "flat": self._flat,
        }
        keep(self._file, GPU_ENGINE, kept)
