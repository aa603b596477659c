"""What a benchmark ran on, as far as figures depend on it."""

import os
import platform
import resource
import subprocess
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

BUSY_CORES = 0.2  # of others: above that they show in what is measured
PACKAGES = ("torch", "diffusers", "fastapi", "uvicorn", "celery", "litserve", "pillow", "isal", "zlib-ng")


class OthersMeter:
    """How many cores other programs took, on average, while something was measured: figures suffer from them."""

    def __enter__(self) -> "OthersMeter":
        self._began, self._busy_s, self._own_s = time.monotonic(), _busy_s(), _own_s()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._began
        self.cores = max(0.0, (_busy_s() - self._busy_s) - (_own_s() - self._own_s)) / self.seconds


def _busy_s() -> float:
    """Of all cores of the machine."""
    times = psutil.cpu_times()
    return times.user + times.system


def _own_s() -> float:
    """Of this process, and of all that it started and that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def machine() -> dict[str, object]:
    """Processor, memory, versions."""
    return {
        "processor": _processor(),
        "loop_ms": _loop_ms(),
        "sync_ms": _sync_ms(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "gpu": _gpu(),
        "commit": _commit(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name)) is not None},
    }


def _loop_ms() -> float:
    """Milliseconds of a million turns of a loop in Python: processors of one name differ, and so do those who share
    one. Compare figures of different runs by it.
    """
    took: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        for _turn in range(1_000_000):
            pass
        took.append(time.perf_counter() - began)
    return round(1e3 * min(took), 1)


def _sync_ms() -> float:
    """Milliseconds until a page at the end of a file is on the disk of the servers' files, at best."""
    took: list[float] = []
    with tempfile.TemporaryFile(dir=os.environ.get("BENCH_HOME")) as file:
        for _ in range(50):
            file.write(bytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return round(1e3 * min(took), 2)


def _commit() -> str | None:
    """What is measured, with a plus where it was changed since."""
    here = Path(__file__).parent
    try:
        commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=here, text=True).strip()
        changes = subprocess.check_output(["git", "status", "--porcelain", "--", "../src"], cwd=here, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + "+" * bool(changes)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
