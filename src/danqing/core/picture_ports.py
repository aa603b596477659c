"""Where pictures are kept, and how those that clients send come in: protocols, as those of `ports.py`."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from danqing.core.images import StagedImage
from danqing.core.listing import NAMES_AT_ONCE, PicturePage
from danqing.core.open_picture import OpenPicture

CLIENT_URL_S = 600  # how long `ArtifactStore.client_url` is good for


class ArtifactStore(Protocol):
    """Stored pictures. `write` and `read` are called in worker processes, the rest in the server.

    Several processes may use one place at once. Everything but `open` and `client_url` blocks. A name that `write`
    refuses is that of no picture. Raises StorageFailure when the place fails.
    """

    def write(self, name: str, content: bytes) -> None:
        """Whole and durable on return, or absent. Replaces an equal name."""
        ...

    def adopt(self, staged: Path, name: str) -> None:
        """As `write`, but takes over a file of `staging`, which is gone from there then."""
        ...

    def staging(self) -> Path:
        """A folder of this machine for files that `adopt` may take over. What is left in it goes once it is old."""
        ...

    def read(self, name: str) -> bytes:
        """The whole picture. Raises ArtifactNotFound."""
        ...

    async def open(self, name: str) -> OpenPicture:
        """The picture, to be read piece by piece. Raises ArtifactNotFound."""
        ...

    def size(self, name: str) -> int:
        """Bytes. Raises ArtifactNotFound."""
        ...

    def age_s(self, name: str) -> float:
        """Seconds since it was written, by the clock of the place. Raises ArtifactNotFound."""
        ...

    async def client_url(self, name: str) -> str | None:
        """An address from which whoever has it fetches the picture himself, for a few minutes (CLIENT_URL_S).

        None where the server has to send it. Raises ArtifactNotFound.
        """
        ...

    def location(self, name: str) -> str:
        """The place of that name for people to read (an absolute path, a URL), whether a picture is there or not."""
        ...

    def picture_pages(self, *, names_at_once: int = NAMES_AT_ONCE) -> Iterator[PicturePage]:
        """The names of the pictures of jobs that are there, by job id; an empty file is no picture.

        A job of which there is only something half-written has none. Page by page in the order of the ids; a page has
        about so many names.
        """
        ...

    def inputs(self) -> Mapping[str, int]:
        """The names of all input images (`images.ref_of`) with their bytes. They may be another server's."""
        ...

    def old_inputs(self) -> frozenset[str]:
        """Of those the ones that are too old to be on their way to a job."""
        ...

    def sweep(self, known: Mapping[str, frozenset[str]], *, older_than_s: float = 0.0) -> int:
        """Removes pictures of these jobs, whole or half-written, but for those named; returns how many.

        Of other jobs only half-written ones that are too old to be under way, and what is left in `staging`. Everything
        else stays: the place may hold the pictures of another server, or other files altogether. older_than_s: younger
        ones stay too. What cannot be removed is logged.
        """
        ...

    def remove(self, name: str) -> None:
        """Removes a picture, if it is there; a power cut may bring it back. Raises StorageFailure for a name that
        `write` refuses.
        """
        ...

    def remove_all(self, names: Collection[str]) -> frozenset[str]:
        """As `remove`, many at once, and durable on return. Returns those that could not be removed; it is logged."""
        ...


class ImageIntake(Protocol):
    """Turns what clients send as pictures into pictures that may be trusted."""

    async def stage(
        self, content: bytes | Path, *, parameter: str, owner: str = "", as_mask: bool = False
    ) -> StagedImage:
        """content: the file's bytes, or where it lies. Decoded apart from this process, with limits.

        parameter: its name in the client's request, for the message. owner: whose turn it takes; owners take turns.
        as_mask: a mask whose brightness counts; what is transparent in it becomes black.
        Raises InvalidImage, or TooBusy if too many wait. Cancelled, it leaves nothing.
        """
        ...

    async def discard(self, images: Sequence[StagedImage]) -> None:
        """Removes those that the Studio has not taken over."""
        ...
