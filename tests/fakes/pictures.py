"""What an ArtifactStore has, all at once: for the small places of tests."""

from collections.abc import Mapping

from danqing.core.picture_ports import ArtifactStore


def pictures_in(store: ArtifactStore) -> Mapping[str, frozenset[str]]:
    """The names of the pictures of jobs that are there, by job id; see `picture_pages`."""
    return {job_id: names for page in store.picture_pages() for job_id, names in page.pictures.items()}
