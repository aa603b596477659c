"""How much memory the machine, or the container that this process is in, has. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUP_OF_PROCESS = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True)
class HostMemory:
    """available_bytes: that processes may still take without pushing others out."""

    total_bytes: int
    available_bytes: int


def host_memory(*, of_process: Path = CGROUP_OF_PROCESS, cgroups: Path = CGROUPS) -> HostMemory:
    """As of now; cheap. A limit of the process's control group (version 2) counts, which psutil does not look at."""
    machine = psutil.virtual_memory()
    total, available = machine.total, machine.available
    for group in _groups(of_process, cgroups):
        try:
            limit = int((group / "memory.max").read_text())
            used = int((group / "memory.current").read_text())
            cached = _inactive_file(group / "memory.stat")
        except (OSError, ValueError):  # "max": no limit here
            continue
        total, available = min(total, limit), min(available, limit - used + cached)
    return HostMemory(total_bytes=total, available_bytes=max(0, available))


def _groups(of_process: Path, cgroups: Path) -> list[Path]:
    """The process's control group and those above it; a limit of any of them holds."""
    try:
        lines = of_process.read_text().splitlines()
    except OSError:
        return []
    inside = next((Path(line[len("0::/") :]) for line in lines if line.startswith("0::/")), None)
    return [] if inside is None else [cgroups / inside, *(cgroups / above for above in inside.parents)]


def _inactive_file(stat: Path) -> int:
    """Bytes of files that the kernel keeps while nobody needs the room."""
    lines = (line.split() for line in stat.read_text().splitlines())
    return next((int(value) for name, value in lines if name == "inactive_file"), 0)
