"""Takes from this process, where the kernel can (Linux 5.13 or newer), the right to open what it does not need.

Files: to read in a few folders only, to change in one only. Network: no TCP (Linux 6.7). No signals to other processes
(Linux 6.12). It cannot be taken back.
"""

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

# Numbers of the kernel's, the same on every architecture that Python runs on.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_SAY_VERSION, _BENEATH_PATH, _NO_NEW_PRIVILEGES = 1, 1, 38

_READ = 1 << 0 | 1 << 2 | 1 << 3  # run a file, read one, list a folder
_CHANGE = 1 << 1 | sum(1 << bit for bit in range(4, 13))  # write, remove and make, of each kind
_LATER_CHANGES = {2: 1 << 13, 3: 1 << 14, 5: 1 << 15}  # by the version that knew them first
_TCP = 1 << 0 | 1 << 1
_TCP_VERSION = 4
_OTHERS = 1 << 0 | 1 << 1  # abstract Unix sockets and signals
_OTHERS_VERSION = 6


def confine_files(*, read: Iterable[Path], change: Path) -> bool:
    """Whether it was done. A folder in read that is not there is left out. Raises OSError if change is not there."""
    library = ctypes.CDLL(None, use_errno=True)
    version = library.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _SAY_VERSION)
    if version < 1:
        return False
    handled = _READ | _CHANGE | sum(right for since, right in _LATER_CHANGES.items() if version >= since)
    attributes = struct.pack("=Q", handled)
    for since, rights in ((_TCP_VERSION, _TCP), (_OTHERS_VERSION, _OTHERS)):
        attributes += struct.pack("=Q", rights) if version >= since else b""
    rules = library.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        return False
    try:
        for folder in read:
            try:
                _allow(library, rules, folder, _READ)
            except OSError:
                continue
        _allow(library, rules, change, handled)
        if library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
            return False
        return library.syscall(_RESTRICT_SELF, rules, 0) == 0
    finally:
        os.close(rules)


def _allow(library: ctypes.CDLL, rules: int, folder: Path, rights: int) -> None:
    """Raises OSError."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, descriptor)
        if library.syscall(_ADD_RULE, rules, _BENEATH_PATH, rule, 0) != 0:
            raise OSError(ctypes.get_errno(), "the kernel refused a rule")
    finally:
        os.close(descriptor)
