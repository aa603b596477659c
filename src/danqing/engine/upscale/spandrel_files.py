"""Networks in .safetensors and .pth files, of any architecture that spandrel knows.

spandrel (MIT) and the torchvision it needs are an extra, imported only when such a file is to be loaded.
"""

from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from danqing.core.errors import ModelLoadFailure
from danqing.engine.library_errors import LIBRARY_ERRORS

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor  # pyright: ignore[reportMissingModuleSource]


class SpandrelNetwork(nn.Module):
    """RGB from 0 to 1, (1, 3, H, W) → (1, 3, scale * H, scale * W), also where the architecture wants other sizes."""

    def __init__(self, described: "ImageModelDescriptor[nn.Module]") -> None:
        super().__init__()
        self.network = described.model
        self.scale = described.scale
        self._described = described

    def forward(self, rgb: Tensor) -> Tensor:
        """See the class."""
        return self._described(rgb)

    def best_dtype(self, device: torch.device) -> torch.dtype:
        """On a GPU the smallest that the architecture bears; float16 first, whose steps are finer than bfloat16's."""
        if device.type != "cpu" and self._described.supports_half:
            return torch.float16
        if device.type != "cpu" and self._described.supports_bfloat16:
            return torch.bfloat16
        return torch.float32


def load_spandrel_network(file: Path) -> SpandrelNetwork:
    """In evaluation mode, on the CPU. Blocking. Raises ModelLoadFailure; runs no code from the file."""
    try:
        from spandrel import (  # pyright: ignore[reportMissingModuleSource]
            ImageModelDescriptor,
            ModelLoader,
            UnsupportedModelError,
            canonicalize_state_dict,
        )
    except (ImportError, RuntimeError) as exc:  # the latter from a torchvision that was built for another torch
        raise ModelLoadFailure("The upscaler needs spandrel, and a torchvision that fits the torch installed.") from exc
    try:
        described = ModelLoader().load_from_state_dict(canonicalize_state_dict(_state_dict(file)))
    except UnsupportedModelError as exc:
        raise ModelLoadFailure(
            f"The upscaler's {file.name} is of an architecture that spandrel does not know."
        ) from exc
    # What torch, pickle and the architectures raise for a cut or foreign file has no common base below Exception.
    except (*LIBRARY_ERRORS, SafetensorError, UnpicklingError, EOFError, OSError) as exc:
        raise ModelLoadFailure("The upscaler's weights are missing or damaged.") from exc
    if not isinstance(described, ImageModelDescriptor) or described.purpose != "SR" or described.scale < 2:
        raise ModelLoadFailure(f"The upscaler's {file.name} does not enlarge pictures.")
    if (described.input_channels, described.output_channels) != (3, 3):
        raise ModelLoadFailure(f"The upscaler's {file.name} is not for RGB pictures.")
    described.model.requires_grad_(False)
    return SpandrelNetwork(described.eval()).eval()


def _state_dict(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        return safetensors.torch.load_file(file)  # pyright: ignore[reportUnknownMemberType]
    return torch.load(file, map_location="cpu", weights_only=True)
