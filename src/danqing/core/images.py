"""Pictures that clients send in, before and after a job owns them."""

from dataclasses import dataclass
from pathlib import Path

MAX_IMAGE_BYTES = 50 * 1024 * 1024  # of a picture file that a client sends


@dataclass(frozen=True, kw_only=True)
class StagedImage:
    """A client's picture, checked and rebuilt as an RGB or RGBA PNG, in a file that no job owns yet.

    path: the file; whoever staged it removes it unless the Studio has taken it over. sha256: of the file's bytes, hex.
    """

    path: Path
    sha256: str
    width: int
    height: int
    has_alpha: bool = False


@dataclass(frozen=True, kw_only=True)
class ImageRef:
    """A picture that a request starts from. name: its key in the artifact store, made from its content alone."""

    name: str
    width: int
    height: int
    has_alpha: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.width, self.height


def ref_of(image: StagedImage) -> ImageRef:
    """What a staged picture is called once a job owns it: equal pictures have equal names."""
    return ImageRef(name=f"input-{image.sha256}.png", width=image.width, height=image.height, has_alpha=image.has_alpha)
