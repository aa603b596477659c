"""In the worker process: the pictures that requests start from."""

from danqing.core.engine_port import ReadImage
from danqing.core.ports import ArtifactStore


def reader_of(artifacts: ArtifactStore) -> ReadImage:
    """Reads them from this store. Raises ArtifactNotFound or StorageFailure. Blocking."""
    return lambda ref: artifacts.read(ref.name)
