"""The device that models run on: which one, in which number format, and how full it is."""

import gc
import importlib.util
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from danqing.core.errors import ModelLoadFailure
from danqing.core.types import DeviceStatus
from danqing.engine.spec import Attention, Dtype

CPU_INFO = Path("/proc/cpuinfo")
HOPPER = (9, 0)  # compute capability that FlashAttention 3 is written for
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True, kw_only=True)
class Device:
    """A place to compute, its name for people, and the number format of the weights on it."""

    torch_device: torch.device
    dtype: torch.dtype
    name: str

    @property
    def is_cuda(self) -> bool:
        """True for an NVIDIA (or ROCm) device."""
        return self.torch_device.type == "cuda"

    def status(self) -> DeviceStatus:
        """Memory as of now. Cheap; any thread."""
        if not self.is_cuda:
            return DeviceStatus(id=str(self.torch_device), name=self.name, kind="cpu")
        return DeviceStatus(
            id=str(self.torch_device),
            name=self.name,
            kind="cuda",
            memory_allocated_bytes=torch.cuda.memory_allocated(self.torch_device),
            memory_reserved_bytes=torch.cuda.memory_reserved(self.torch_device),
            memory_total_bytes=torch.cuda.mem_get_info(self.torch_device)[1],
        )

    def free_unused_memory(self) -> None:
        """Gives back everything that nothing refers to any more."""
        gc.collect()
        if self.is_cuda:
            torch.cuda.empty_cache()


def choose_device(name: str, dtype: Dtype) -> Device:
    """name and dtype as in `EngineSpec`. Raises ModelLoadFailure if there is no such device."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as exc:
        raise ModelLoadFailure(f"There is no device {name}.") from exc
    if device.type == "cuda":
        index = device.index or 0
        if not torch.cuda.is_available() or index >= torch.cuda.device_count():
            raise ModelLoadFailure(f"There is no device {name}.")
        device = torch.device("cuda", index)
    elif device.type != "cpu":
        raise ModelLoadFailure(f"Devices of kind {device.type} are not supported.")
    if dtype == "auto":
        dtype = "bfloat16" if device.type == "cuda" else "float32"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return Device(torch_device=device, dtype=DTYPES[dtype], name=name)


def _cpu_name() -> str:
    """As the maker writes it where Linux tells, else the kind of machine."""
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def default_cpu_threads() -> int:
    """All cores that this process may use but one, at least one.

    The one is for the server and for finishing pictures: threads that compute in step wait for the slowest, so a
    single busy core makes all of them slow (five times as slow, measured on two cores with other work).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1)


def choose_attention(device: Device, wanted: Attention) -> str | None:
    """The diffusers attention backend, None for PyTorch's own. "auto" never fails; "flash", "flash3" may later."""
    match wanted:
        case "native":
            return None
        case "flash":
            return "flash"
        case "flash3":
            return "_flash_3"
        case "auto":
            return _best_attention(device)


def _best_attention(device: Device) -> str | None:
    if not device.is_cuda or device.dtype not in (torch.bfloat16, torch.float16):
        return None
    capability = torch.cuda.get_device_capability(device.torch_device)
    if capability == HOPPER and importlib.util.find_spec("flash_attn_interface"):
        return "_flash_3"
    if capability >= (8, 0) and importlib.util.find_spec("flash_attn"):
        return "flash"
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """True when the device or the machine had no memory left; torch reports the latter as a plain RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
