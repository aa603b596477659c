"""How busy the machine is that answers."""

import psutil

from danqing.dialects.studio.schemas import HostView


def host_view() -> HostView:
    """As of now; does not wait."""
    memory = psutil.virtual_memory()
    return HostView(
        cpu_percent=psutil.cpu_percent(interval=None),
        memory_used_bytes=memory.total - memory.available,
        memory_total_bytes=memory.total,
    )
