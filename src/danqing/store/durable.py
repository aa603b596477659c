"""Names of files that survive a power cut."""

import os
from pathlib import Path


def sync_directory(path: Path) -> None:
    """Makes what was created, or renamed, in it survive a power cut. Blocking. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
