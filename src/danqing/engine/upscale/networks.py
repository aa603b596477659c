"""Real-ESRGAN's two networks in torch, with the numbers of ncnn's files.

After `SRVGGNetCompact` and `RRDBNet` of https://github.com/xinntao/Real-ESRGAN and https://github.com/XPixelGroup/BasicSR
(BSD 3-Clause and Apache 2.0), whose layers these have in the same order. Both take and give RGB from 0 to 1,
(B, 3, H, W) → (B, 3, 4H, 4W); a result may lie a little outside.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from danqing.engine.upscale.ncnn_files import CompactLayout, Layout, Numbers
from danqing.engine.upscale.upscaler import SCALE


class CompactNetwork(nn.Module):
    """`SRVGGNetCompact`: convolutions at the size of the input, whose results are laid out as the larger pixels."""

    def __init__(self, features: int, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(3, features), nn.PReLU(features)]
        for _ in range(depth):
            layers += [_convolution(features, features), nn.PReLU(features)]
        self.body = nn.Sequential(*layers, _convolution(features, 3 * SCALE * SCALE))

    def forward(self, rgb: Tensor) -> Tensor:
        """See the module."""
        detail = functional.pixel_shuffle(self.body(rgb), SCALE)  # (B, 3, 4H, 4W)
        return detail + functional.interpolate(rgb, scale_factor=SCALE, mode="nearest")


class _DenseBlock(nn.Module):
    """Each convolution sees the input and the results of all before it."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(_convolution(features + index * growth, growth) for index in range(4))
        self.last = _convolution(features + 4 * growth, features)

    def forward(self, features: Tensor) -> Tensor:
        seen = features
        for convolution in self.convolutions:
            seen = torch.cat((seen, _leaky(convolution(seen))), dim=1)  # (B, features + n * growth, H, W)
        return features + 0.2 * self.last(seen)


class _RrdbBlock(nn.Module):
    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(*(_DenseBlock(features, growth) for _ in range(3)))

    def forward(self, features: Tensor) -> Tensor:
        return features + 0.2 * self.dense(features)


class RrdbNetwork(nn.Module):
    """`RRDBNet`: blocks at the size of the input, then twice twice the size."""

    def __init__(self, features: int, growth: int, blocks: int) -> None:
        super().__init__()
        self.first = _convolution(3, features)
        self.body = nn.Sequential(*(_RrdbBlock(features, growth) for _ in range(blocks)))
        self.behind_body = _convolution(features, features)
        self.enlarging = nn.ModuleList(_convolution(features, features) for _ in range(2))
        self.large = _convolution(features, features)
        self.last = _convolution(features, 3)

    def forward(self, rgb: Tensor) -> Tensor:
        """See the module."""
        features = self.first(rgb)  # (B, features, H, W)
        features = features + self.behind_body(self.body(features))
        for convolution in self.enlarging:
            features = _leaky(convolution(functional.interpolate(features, scale_factor=2, mode="nearest")))
        return self.last(_leaky(self.large(features)))  # (B, 3, 4H, 4W)


def build_network(layout: Layout, numbers: Sequence[Numbers]) -> nn.Module:
    """In evaluation mode, on the CPU, in float32. numbers: as `read_numbers` gives them."""
    if isinstance(layout, CompactLayout):
        network: nn.Module = CompactNetwork(layout.features, layout.depth)
    else:
        network = RrdbNetwork(layout.features, layout.growth, layout.blocks)
    # Modules, and the parameters of each, come in the order in which they were made: that of ncnn's layers.
    for parameter, array in zip(network.parameters(), numbers, strict=True):
        parameter.requires_grad_(False).copy_(torch.as_tensor(array))
    return network.eval()


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)


def _leaky(features: Tensor) -> Tensor:
    """In place: at four times the size, a further copy would be most of the memory that the network needs."""
    return functional.leaky_relu(features, 0.2, inplace=True)
