"""The C library keeps what is freed, and gives it back when it is told to. In processes of their own."""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")

PROGRAM = """
import ctypes, resource, sys
import torch
from danqing.engine.freed_memory import M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, keep_freed_memory, return_freed_memory

torch.set_num_threads(1)
for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):  # as glibc begins, before it adapts to the program
    assert ctypes.CDLL(None).mallopt(option, 128 << 10) == 1
if sys.argv[1] == "kept":
    assert keep_freed_memory()

def work():
    parts = [torch.ones(1 << 18) for _ in range(24)]  # 1 MiB each

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

for _ in range(5):  # until the heap has its shape
    work()
before = faults()
for _ in range(10):
    work()
counted, kept = faults() - before, resident()
return_freed_memory()
print(counted, kept - resident())
"""


def told(way: str) -> tuple[int, int]:
    """Page faults of ten rounds, and bytes that went back at last."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM, way], capture_output=True, text=True, check=True)
    faults, returned = ended.stdout.split()
    return int(faults), int(returned)


def test_memory_is_kept_for_the_next_tensors_and_given_back_when_it_is_not_wanted() -> None:
    faults, returned = told("kept")
    assert faults < 1000  # of 61,440 pages that are written to
    assert returned > 20 << 20
    # It would not be so without
    faults, _ = told("plain")
    assert faults > 10_000
