"""What zimage calls pictures: `YYYYMMDD/HHMMSS_<task id>.png`, and `.webp` for the preview. Pure."""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC

from danqing.core.types import ArtifactKind, Job

FOLDER = "/generated-images"
_SUFFIXES = {ArtifactKind.ORIGINAL: "png", ArtifactKind.PREVIEW: "webp"}
_KINDS = {suffix: kind for kind, suffix in _SUFFIXES.items()}
_TASK_ID = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"\d{8}/\d{6}_(?P<task_id>[0-9a-f]{32})\.(?P<suffix>png|webp)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """Where pictures are: location, of an artifact's name, for people; link signs a path for browsers."""

    location: Callable[[str], str]
    link: Callable[[str], str]

    def address(self, relative: str) -> str:
        """Of the picture with this relative path, for browsers."""
        path, mark, query = self.link(signed_path(relative)).partition("?")
        return f"{path}.{relative.rpartition('.')[2]}{mark}{query}"


def task_id_of(job: Job) -> str:
    """The job's id without its dashes."""
    return job.id.replace("-", "")


def job_id_of(task_id: str) -> str | None:
    """None for what is no task id."""
    return str(uuid.UUID(task_id)) if _TASK_ID.fullmatch(task_id) else None


def relative_path(job: Job, kind: ArtifactKind) -> str:
    """Where the job's picture of this kind (original or preview) is below `FOLDER`, if there is one. Time in UTC."""
    moment = job.created_at.astimezone(UTC)
    return f"{moment:%Y%m%d/%H%M%S}_{task_id_of(job)}.{_SUFFIXES[kind]}"


def parse(relative: str) -> tuple[str, ArtifactKind] | None:
    """(job id, kind) that a path could be of; whether that job's picture has this very path is still to be seen."""
    found = _NAME.fullmatch(relative)
    return (str(uuid.UUID(found["task_id"])), _KINDS[found["suffix"]]) if found else None


def signed_path(relative: str) -> str:
    """What a signature is of: the path without its suffix, so that it opens the picture and its preview alike.

    Clients make the address of the one from that of the other: the vendor's web page puts .png for .webp to download.
    """
    return f"{FOLDER}/{relative.rpartition('.')[0]}"
