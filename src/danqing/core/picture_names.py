"""What a job's stored pictures are called, whether they are there or not."""

from danqing.core.types import ArtifactKind, Job

_ENDINGS = {
    ArtifactKind.ORIGINAL: ".png",
    ArtifactKind.PREVIEW: ".webp",
    ArtifactKind.UPSCALED: "-upscaled.png",
}


def picture_name(job_id: str, kind: ArtifactKind) -> str:
    """Every attempt at the job gives its pictures the same names."""
    return f"{job_id}{_ENDINGS[kind]}"


def picture_names(job_id: str) -> frozenset[str]:
    """All that pictures of this job can have: a worker that died may have stored one, and told nobody."""
    return frozenset(picture_name(job_id, kind) for kind in ArtifactKind)


def names_to_remove(job: Job) -> frozenset[str]:
    """What is to go with the job: `picture_names`, and what its artifacts are called, by whatever version."""
    return picture_names(job.id) | {artifact.name for artifact in job.artifacts}
