"""What happens to jobs, as told to whoever watches them. Order per job is the order of happening."""

from dataclasses import dataclass

from danqing.core.types import EncodedPicture, Job, Progress


@dataclass(frozen=True, kw_only=True)
class StateChanged:
    """The job as it is after the change. Never dropped."""

    job: Job


@dataclass(frozen=True, kw_only=True)
class ProgressMade:
    """A step ended. May be dropped for a slow watcher."""

    job_id: str
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class PreviewMade:
    """What the picture looks like after `step` of `total_steps`. May be dropped for a slow watcher, before progress.

    picture: a small JPEG.
    """

    job_id: str
    step: int
    total_steps: int
    picture: EncodedPicture


Event = StateChanged | ProgressMade | PreviewMade
