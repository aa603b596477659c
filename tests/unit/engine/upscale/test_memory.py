"""From 1024 to 4096 pixels in a bounded part of the machine's memory, measured in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.engine.upscale.tiny_networks import write_compact

GIB = 2**30
# The bundled network enlarges one tile, a tiny one the whole picture: `bench/upscaling.py` does that with the real one.
ENLARGE = """
import pathlib, sys
import numpy as np
from danqing.engine.upscale.choice import find_upscaler
from danqing.engine.upscale.real_esrgan import RealEsrgan

RealEsrgan(find_upscaler("animevideov3").path, name="bundled").enlarge(np.zeros((128, 128, 3), np.uint8))
tiny = RealEsrgan(pathlib.Path(sys.argv[1]), name="tiny")
assert tiny.enlarge(np.zeros((1024, 1024, 3), np.uint8)).shape == (4096, 4096, 3)
# Not getrusage's: that begins with what the process had that started this one.
(line,) = [line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(int(line.split()[1]) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts in units of Linux")
def test_a_picture_of_4096_pixels_stays_below_1_gib(tmp_path: Path) -> None:
    param = write_compact(tmp_path / "tiny.param", features=4, depth=1)
    child = subprocess.run([sys.executable, "-c", ENLARGE, str(param)], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    assert 0.05 * GIB < int(child.stdout) < GIB
