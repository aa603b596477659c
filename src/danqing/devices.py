"""The GPUs that a worker could use, found through NVIDIA's management library: no torch, no CUDA context."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# (pynvml has no types)

import importlib.metadata
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pynvml

GROUP = "+"  # between the names of devices that one worker has; the engine reads them
WEIGHTS_SHARE = 0.8  # of a device's memory


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as NVIDIA's driver lists it. memory_total_bytes: None where the driver does not tell."""

    name: str
    memory_total_bytes: int | None


def installed_gpus() -> tuple[Gpu, ...]:
    """All GPUs of the machine in the driver's order; empty without a driver. Blocking, a few milliseconds."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(_describe(index) for index in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()


def _describe(index: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    try:
        memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
    except pynvml.NVMLError:
        memory = None
    return Gpu(name=str(pynvml.nvmlDeviceGetName(handle)), memory_total_bytes=memory)


def visible_gpu_count(installed: int, visible_devices: str | None) -> int:
    """How many GPUs a CUDA process may use. visible_devices: the value of CUDA_VISIBLE_DEVICES, None if it is not set.

    As CUDA reads it: numbers or ids with commas between, up to the first number that is no GPU.
    """
    if visible_devices is None:
        return installed
    count = 0
    for entry in visible_devices.split(","):
        entry = entry.strip()
        if not entry or (entry.lstrip("-").isdigit() and not 0 <= int(entry) < installed):
            break
        count += 1
    return count if installed else 0


def torch_has_cuda() -> bool:
    """False when the installed torch is a build for CPUs only; told by its version, without importing it."""
    return not importlib.metadata.version("torch").endswith("+cpu")


@dataclass(frozen=True, kw_only=True)
class DeviceChoice:
    """devices: one worker each, as torch names them. remark: why it is not what was asked for; None if it is."""

    devices: tuple[str, ...]
    remark: str | None = None


def device_groups(devices: Sequence[str], *, memory_bytes: int, needed_bytes: int) -> tuple[str, ...]:
    """As few devices for each worker as hold what the largest model needs; those that are left join the last one.

    memory_bytes: of each device, of which a fifth is kept for the work itself.
    """
    each = min(len(devices), math.ceil(needed_bytes / (WEIGHTS_SHARE * memory_bytes)))
    groups = [list(devices[i : i + each]) for i in range(0, len(devices) - each + 1, each)]
    groups[-1] += devices[len(groups) * each :]
    return tuple(GROUP.join(group) for group in groups)


class NoSuchGpu(Exception):
    """A GPU was named that is not there, although others are. The message is for the person who named it."""


def choose_devices(*, use_gpus: bool, only_gpu: int | None, visible: int, torch_can: bool) -> DeviceChoice:
    """Every visible GPU, or the one named, or the CPU. visible: number of GPUs that CUDA would show.

    Raises NoSuchGpu.
    """
    cpu = ("cpu",)
    if not use_gpus:
        return DeviceChoice(devices=cpu)
    if not visible:
        remark = f"GPU {only_gpu} was asked for, but there is none" if only_gpu is not None else None
        return DeviceChoice(devices=cpu, remark=remark)
    if not torch_can:
        return DeviceChoice(devices=cpu, remark="the installed torch is a build for CPUs, so the GPUs are not used")
    if only_gpu is None:
        return DeviceChoice(devices=tuple(f"cuda:{ordinal}" for ordinal in range(visible)))
    if only_gpu >= visible:
        raise NoSuchGpu(f"GPU_DEVICE_ID is {only_gpu}, but the GPUs here are 0 to {visible - 1}.")
    return DeviceChoice(devices=(f"cuda:{only_gpu}",))
