"""In the worker process: the pictures that requests start from."""

from danqing.core.engine_port import ReadImage
from danqing.core.errors import ArtifactNotFound, StorageFailure
from danqing.core.images import ImageRef
from danqing.core.ports import ArtifactStore


def reader_of(artifacts: ArtifactStore) -> ReadImage:
    """Reads them from this store. Raises ArtifactNotFound or StorageFailure. Blocking."""

    def read(ref: ImageRef) -> bytes:
        try:
            return artifacts.path(ref.name).read_bytes()
        except FileNotFoundError as exc:  # removed since the store looked
            raise ArtifactNotFound from exc
        except OSError as exc:
            raise StorageFailure from exc

    return read
