"""What the C library does with memory that tensors on a CPU leave: keep it for the next ones. Imports no torch.

Left alone, glibc gives the end of its heap back as soon as a few megabytes are free there, and gets it again, page by
page, with the next tensor: that took more than half of an attention's time at 512 pixels (`bench/cpu_attention.py`).
"""

import ctypes
import platform

KEPT_BYTES = 128 << 20
APART_BYTES = 32 << 20  # a tensor as large as that is got from the system by itself, and goes back when it is freed
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def keep_freed_memory() -> bool:
    """For the whole process. False, and nothing is done, where the C library is another one."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(M_MMAP_THRESHOLD, APART_BYTES) == 1, mallopt(M_TRIM_THRESHOLD, KEPT_BYTES) == 1])


def return_freed_memory() -> None:
    """What is kept now goes back to the system."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
