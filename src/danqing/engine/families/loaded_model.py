"""What the pipelined adapter asks of a family: its code around the parts of one checkpoint."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from danqing.engine.families.adapter import Order
from danqing.engine.launched import Levels

Size = tuple[int, int]  # width, height


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """A batch's prompts, encoded. arguments: what a pipeline is called with for them.

    adjustments: of each picture, as in `RawPicture`. need_mask: whether attention has to leave out padding, because
    the texts differ in length and must be computed beside each other.
    """

    arguments: dict[str, Any]
    adjustments: tuple[tuple[str, ...], ...]
    need_mask: bool


class LoadedModel(Protocol):
    """A family's code around the parts of one checkpoint. Keeps nothing of a request."""

    @property
    def parts(self) -> Any:  # noqa: ANN401  diffusers is not typed
        """The pipeline that was loaded: it has at least a `transformer` and a `vae`. Never called itself."""
        ...

    @property
    def pipelines(self) -> Sequence[Any]:
        """Every pipeline over loaded parts; a part may belong to several."""
        ...

    @property
    def tile_side(self) -> int:
        """Pixels up to which the autoencoder makes one tile of a picture."""
        ...

    def encode(self, orders: Sequence[Order]) -> Prompts:
        """The prompts of all orders."""
        ...

    def noise(self, seed: int, size: Size) -> Tensor:
        """float32 (1, …), as a pipeline takes `latents`; drawn on the CPU, so that a seed means the same everywhere."""
        ...

    def pipeline(self, orders: Sequence[Order]) -> tuple[Any, dict[str, Any]]:
        """A pipeline of the loaded parts but with a scheduler of its own, and what only its mode is called with.

        It begins with the noise that it is called with as `latents`, and once it is called has an attribute `begun`:
        the latents before the first step.
        """
        ...

    def decoding(self, latents: Tensor, size: Size) -> Callable[[Any], Levels]:
        """What makes the pixels with an autoencoder that is given to it, and holds no part of the model itself.

        latents: (1, …) of one picture.
        """
        ...

    def preview(self, latents: Tensor, size: Size) -> Levels:
        """What `decoding` would show, made quickly: of its shape but of any size. Does not wait for the device."""
        ...
