"""Files that survive a power cut once a call has returned. Blocking; everything raises OSError."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

# What file systems answer that cannot sync a directory (some of those on a network): their renames are durable, or
# nothing can be done about it.
_CANNOT_SYNC_FOLDERS = (errno.EINVAL, errno.ENOTSUP)


def write_new(path: Path, content: bytes) -> None:
    """A file of that content. What is there already, a link too, is FileExistsError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        view = memoryview(content)
        while view:
            view = view[file.write(view) :]
        os.fsync(descriptor)


def sync_file(path: Path) -> None:
    """Makes a file that somebody else wrote survive a power cut. A link, or what is no file, is OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Not a file")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """A folder, and those above it that are missing. One that is there stays as it is."""
    missing = [path]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        for folder in reversed(missing):
            with suppress(PermissionError):  # written may be what cannot be read, and then it cannot be synced
                sync_directory(folder.parent)


def sync_directory(path: Path) -> None:
    """Makes what was created, or renamed, in it survive a power cut, as far as its file system can."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as exc:
        if exc.errno not in _CANNOT_SYNC_FOLDERS:
            raise
    finally:
        os.close(descriptor)
