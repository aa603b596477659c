"""Whether a model is compiled: as somebody wants it, or where that pays and can be done. Imports no diffusers.

On an H100 it takes Z-Image-Turbo from 1.37 to 0.81 s a picture, and the better part of a minute as it is loaded
(docs/models.md).
"""

import importlib
import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
import torch

from danqing.engine.device import Device
from danqing.engine.spec import Compile

AMPERE = (8, 0)  # compute capability of the first GPUs that multiply bfloat16
LEAST_BYTES = 2 * 10**9  # of weights: with fewer, a picture takes little time as it is
MOST_SHARE = 0.9  # of the device's memory: with more, parts of the model come and go

log = structlog.get_logger(__name__)


def is_compiled(
    wanted: Compile, device: Device, *, weights_bytes: int | None, by_sdnq: Callable[[], bool], cpu_offload: bool
) -> bool:
    """weights_bytes: of the model in the end, None where that is not known. by_sdnq: whether it is quantised so."""
    if wanted != "auto":
        return wanted
    small = weights_bytes is not None and weights_bytes < LEAST_BYTES
    # Of layers that come and go, and of SDNQ's, nobody knows that it pays.
    if not device.is_cuda or small or cpu_offload or device.others or by_sdnq():
        return False
    if missing := _missing(device, weights_bytes or 0):
        log.warning("not_compiled", missing=missing)
        return False
    return True


@contextmanager
def failing_or_going_on() -> Generator[None]:
    """Inside, while a model is loaded, what fails to compile is an error; once that went well, it goes on uncompiled,
    whatever it is, in this thread.
    """
    config: Any = importlib.import_module("torch._dynamo.config")
    before, config.suppress_errors = config.suppress_errors, False
    try:
        yield
    except BaseException:
        config.suppress_errors = before
        raise
    config.suppress_errors = True


def _missing(device: Device, weights_bytes: int) -> str | None:
    """Triton compiles a little C for each of its kernels."""
    if weights_bytes > MOST_SHARE * device.capacity_bytes():
        return "memory for all of the model"
    if torch.cuda.get_device_capability(device.torch_device) < AMPERE:
        return "a GPU of compute capability 8.0"
    if importlib.util.find_spec("triton") is None:
        return "the package triton"
    if not any(map(shutil.which, (os.environ.get("CC") or "gcc", "gcc", "clang"))):
        return "a C compiler"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python's C headers"
    return None
