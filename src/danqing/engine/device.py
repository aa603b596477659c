"""The device that models run on: which one, in which number format, and how full it is."""

import gc
import os
import platform
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from danqing.core.errors import ModelLoadFailure
from danqing.core.types import DeviceStatus
from danqing.engine.freed_memory import return_freed_memory
from danqing.engine.host_memory import host_memory
from danqing.engine.spec import Dtype

CPU_INFO = Path("/proc/cpuinfo")
_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
# Of the host, the second of its pinned memory; and of a device, by those who do not go through torch's allocator.
_NO_MEMORY = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "ALLOCATION_FAILED",  # further ones of cuDNN's
    "Triton Error [CUDA]: out of memory",
)
GROUP = "+"  # between the names of a group's devices
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclass
class MemoryUse:
    """working_bytes: that something took while it ran, beside what it found and what it left; None: not measured."""

    working_bytes: int | None = None


class SideWork:
    """What other threads do on a device beside denoising, whose memory nobody can tell from that. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = 0
        self._ended = 0
        self._expected: dict[object, int] = {}

    @contextmanager
    def going_on(self) -> Generator[None]:
        """While it lasts."""
        with self._lock:
            self._begun += 1
        try:
            yield
        finally:
            with self._lock:
                self._ended += 1

    def expect(self, size_bytes: int) -> Callable[[], None]:
        """That some is coming, or going on, which takes so much memory; until what is returned is called."""
        key = object()
        with self._lock:
            self._expected[key] = size_bytes

        def ended() -> None:
            self._expected.pop(key, None)  # without the lock: the garbage collector may call it anywhere

        return ended

    @property
    def expected_bytes(self) -> int:
        """Of the largest that is expected: they come one after the other."""
        return max(tuple(self._expected.values()), default=0)

    def since_now(self) -> Callable[[], bool]:
        """A question to be asked later: whether there was any in between."""
        with self._lock:
            before, going_on = self._begun, self._begun > self._ended
        return lambda: going_on or self._begun > before


@dataclass(frozen=True, kw_only=True)
class Device:
    """A place to compute, its name for people, and the number format of the weights on it.

    memory_bytes: that may be used of it, and of each of the others; None: all of it. others: the rest of a group, to
    which parts of a model go that is too large for one device. side_work: see there.
    """

    torch_device: torch.device
    dtype: torch.dtype
    name: str
    memory_bytes: int | None = None
    others: tuple[torch.device, ...] = ()
    side_work: SideWork = field(default_factory=SideWork, compare=False, repr=False)

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

    @property
    def has_own_memory(self) -> bool:
        """False where it computes in the host's."""
        return self.is_cuda

    def capacity_bytes(self) -> int:
        """All memory that may be used of it, whoever holds it now."""
        if self.is_cuda:
            total: int = torch.cuda.mem_get_info(self.torch_device)[1]
        else:
            total = host_memory().total_bytes
        return total if self.memory_bytes is None else min(total, self.memory_bytes)

    def free_bytes(self) -> int:
        """What may still be taken of it now; on a CPU whatever `memory_bytes` says, for nobody counts the tensors."""
        if not self.is_cuda:
            return host_memory().available_bytes
        allocated = torch.cuda.memory_allocated(self.torch_device)
        cached = torch.cuda.memory_reserved(self.torch_device) - allocated
        free: int = torch.cuda.mem_get_info(self.torch_device)[0] + cached
        return free if self.memory_bytes is None else min(free, self.memory_bytes - allocated)

    def make_current(self) -> None:
        """What this thread does on a GPU it does there, where nothing says where: none else is to be in use."""
        if self.is_cuda:
            torch.cuda.set_device(self.torch_device)

    def enforce_limit(self) -> None:
        """Makes torch run out of memory at `memory_bytes`, though the device has more."""
        if not self.is_cuda or self.memory_bytes is None:
            return
        for device in (self.torch_device, *self.others):
            share = min(1.0, self.memory_bytes / torch.cuda.mem_get_info(device)[1])
            torch.cuda.set_per_process_memory_fraction(share, device)  # pyright: ignore[reportUnknownMemberType]

    @contextmanager
    def measured(self) -> Generator[MemoryUse]:
        """How much memory what runs inside takes, known at the end; on a CPU nobody counts it, and beside work of other
        threads nobody can tell.
        """
        use = MemoryUse()
        if not self.is_cuda:
            yield use
            return
        before = torch.cuda.memory_allocated(self.torch_device)
        torch.cuda.reset_peak_memory_stats(self.torch_device)
        was_disturbed = self.side_work.since_now()
        yield use
        left = max(before, torch.cuda.memory_allocated(self.torch_device))
        most = torch.cuda.max_memory_allocated(self.torch_device)
        use.working_bytes = None if was_disturbed() else max(0, most - left)

    def free_unused_memory(self) -> None:
        """Gives back everything that nothing refers to any more."""
        gc.collect()
        if self.is_cuda:
            torch.cuda.empty_cache()
        else:
            return_freed_memory()


def choose_device(name: str, dtype: Dtype, *, memory_bytes: int | None = None) -> Device:
    """name, dtype and memory_bytes as in `EngineSpec`. Raises ModelLoadFailure if there is no such device."""
    name, *others = name.split(GROUP)
    first = _choose_one(name, dtype, memory_bytes)
    further = tuple(_choose_one(other, dtype, None).torch_device for other in others)
    if others and (not first.is_cuda or len({first.torch_device, *further}) <= len(further)):
        raise ModelLoadFailure("A group of devices is one of different CUDA devices.")
    return replace(first, others=further)


def _choose_one(name: str, dtype: Dtype, memory_bytes: int | None) -> Device:
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
        dtype = "bfloat16" if device.type == "cuda" or _cpu_multiplies_bfloat16() else "float32"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return Device(torch_device=device, dtype=DTYPES[dtype], name=name, memory_bytes=memory_bytes)


def _cpu_multiplies_bfloat16() -> bool:
    """Whether this machine's cores have instructions for it, with which torch is quicker than in float32 (the sample
    model takes 0.6 to 0.7 of the time on a Zen 4 core, at 53 dB to the same picture: `bench/cpu_engine.py`). Others
    imitate it.
    """
    return not _BFLOAT16_FLAGS.isdisjoint(_cpu_info("flags").split())


def _cpu_name() -> str:
    """As the maker writes it where Linux tells, else the kind of machine."""
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(field_name: str) -> str:
    """What Linux tells of the first core; empty if it does not."""
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field_name)), "")


def default_cpu_threads() -> int:
    """All cores that this process may use but one, at least one.

    The one is for the server and for finishing pictures: threads that compute in step wait for the slowest, so a
    single busy core makes all of them slow (five times as slow, measured on two cores with other work).
    """
    return max(1, available_cores() - 1)


def available_cores() -> int:
    """That this process may use; at least one."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_out_of_memory(error: BaseException) -> bool:
    """True when the device or the machine had no memory left; all but torch's own allocator for devices report it
    as a plain RuntimeError.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
