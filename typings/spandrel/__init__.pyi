"""The part of spandrel that we use; it is an extra, which need not be installed where types are checked."""

from collections.abc import Mapping
from typing import Generic, Literal, TypeVar

from torch import Tensor, nn

T = TypeVar("T", bound=nn.Module)

class ImageModelDescriptor(Generic[T]):
    scale: int
    input_channels: int
    output_channels: int
    supports_half: bool
    supports_bfloat16: bool
    @property
    def model(self) -> T: ...
    @property
    def purpose(self) -> Literal["SR", "FaceSR", "Restoration"]: ...
    def eval(self) -> ImageModelDescriptor[T]: ...
    def __call__(self, image: Tensor) -> Tensor: ...

class MaskedImageModelDescriptor(Generic[T]): ...

class ModelLoader:
    def load_from_state_dict(
        self, state_dict: Mapping[str, Tensor]
    ) -> ImageModelDescriptor[nn.Module] | MaskedImageModelDescriptor[nn.Module]: ...

class UnsupportedModelError(Exception): ...

def canonicalize_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]: ...
