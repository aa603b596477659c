"""`bench/gpu_blocks.py` runs where no GPU is: the same code, small."""

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench" / "gpu_blocks.py"


def test_every_way_of_every_part_runs(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH), "--tiny"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert ran.returncode == 0, ran.stderr[-3000:]
    names = [line.split()[0] for line in ran.stdout.splitlines()]
    assert {name.split("_")[0] for name in names} == {"block", "decoder", "text"}
    assert all("'ms': " in line for line in ran.stdout.splitlines())
