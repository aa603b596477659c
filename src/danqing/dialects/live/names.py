"""File names of pictures as clients see them: `20260204-a-cute-cat-abc12345.png`. Pure.

Nothing is stored under such a name: it is made again from the job, and compared.
"""

import re
import unicodedata
from datetime import UTC

from danqing.core.types import Artifact, ArtifactKind, Job

SLUG_CHARS = 30
MARK_CHARS = 8  # of the fingerprint
NO_SLUG = "image"  # for a prompt without a Latin letter or digit
_READ_CHARS = 1000  # of a prompt; what lies further on names nothing
_ENDINGS = {ArtifactKind.ORIGINAL: ".png", ArtifactKind.UPSCALED: "-upscaled.png"}
_FILE_NAME = re.compile(rf"\d{{8}}-[a-z0-9-]{{1,{SLUG_CHARS}}}-([0-9a-f]{{{MARK_CHARS}}})(?:-upscaled)?\.png", re.ASCII)


def slug(prompt: str) -> str:
    """The first words of a prompt: 1 to SLUG_CHARS of a-z, 0-9 and single inner hyphens."""
    plain = unicodedata.normalize("NFKD", prompt[:_READ_CHARS]).encode("ascii", "ignore").decode().lower()
    words = re.findall(r"[a-z0-9]+", plain) or [NO_SLUG]
    text = words[0][:SLUG_CHARS]
    for word in words[1:]:
        if len(text) + 1 + len(word) > SLUG_CHARS:
            break
        text = f"{text}-{word}"
    return text


def file_name(job: Job, kind: ArtifactKind) -> str:
    """The name of this picture of the job; kind: the original or the upscaled one."""
    day = job.created_at.astimezone(UTC).strftime("%Y%m%d")
    return f"{day}-{slug(job.request.prompt)}-{job.fingerprint[:MARK_CHARS]}{_ENDINGS[kind]}"


def fingerprint_prefix(name: str) -> str | None:
    """How the fingerprint of the job begins whose picture has this name; None if no picture can have it."""
    found = _FILE_NAME.fullmatch(name)
    return found[1] if found else None


def named_picture(job: Job, name: str) -> Artifact | None:
    """The stored picture of the job that has exactly this name."""
    return next((job.artifact(kind) for kind in _ENDINGS if file_name(job, kind) == name), None)
