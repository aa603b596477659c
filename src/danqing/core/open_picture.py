"""A stored picture that is being read, wherever it is stored."""

from typing import Protocol


class OpenPicture(Protocol):
    """Found already: it is read whole though somebody removes it meanwhile, as far as the place it lies in can do that;
    see each. For one reader in one event loop. Whoever opened it closes it.
    """

    @property
    def size_bytes(self) -> int:
        """How much `read` returns in all, unless it raises."""
        ...

    @property
    def version(self) -> str:
        """Another one whenever the content is; of the characters that an entity tag may have between its quotes."""
        ...

    async def read(self) -> bytes:
        """The next piece, about a MiB; b"" at the end. Raises StorageFailure where the place fails before the end."""
        ...

    def close(self) -> None:
        """Idempotent."""
        ...
