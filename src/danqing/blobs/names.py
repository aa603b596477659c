"""What stored pictures are called, and which of them a sweep may take for whose."""

import re

from danqing.core.errors import StorageFailure

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
# What the server names a job's pictures by: the job's id, possibly a suffix. A sweep removes no other
# pictures, and so no input image, which several jobs may share.
PICTURE = re.compile(r"(?P<job_id>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})(-[a-z]+)?\.(png|webp)")
INPUT_PREFIX = "input-"
INPUT = re.compile(INPUT_PREFIX + r"[0-9a-f]{64}\.png")
LEFT_OVER_AFTER_S = 3600  # a temporary or staged file this old is nobody's any more, of whichever server it was


def is_legal(name: str) -> bool:
    """Whether a picture may be called so."""
    return NAME.fullmatch(name) is not None and ".." not in name


def check_name(name: str) -> None:
    """Before a picture is written or removed by that name. Raises StorageFailure if none may be called so."""
    if not is_legal(name):
        raise StorageFailure("Not a name for an artifact.")
