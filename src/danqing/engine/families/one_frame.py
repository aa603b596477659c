"""An `AutoencoderKLQwenImage` for pictures, which are videos of one frame: two-dimensional, and nothing is remembered.

The library's convolutions see frames of zeros before the first one, so that only the last slice of their kernels does
anything; and each keeps a copy of what it was given, for a frame that never comes. Without either it makes the same.
"""

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import (
    AutoencoderKLQwenImage,
    QwenImageCausalConv3d,
    QwenImageResample,
    QwenImageUpsample,
)
from torch import Tensor, nn

# diffusers is not typed: an autoencoder and its layers are Any.


class OneFrameAutoencoder(AutoencoderKLQwenImage):
    """What `for_one_frame` makes of one. It keeps nothing of a picture, so that threads may use it at once."""

    def clear_cache(self) -> None:
        """Where the library would make room for what its convolutions remember."""
        self._feat_map = self._enc_feat_map = None


class OneFrameConvolution(nn.Conv2d):
    """What a causal convolution does to the only frame."""

    def __init__(self, causal: Any) -> None:  # noqa: ANN401
        """causal: a QwenImageCausalConv3d; the part of its weights that counts is copied, so that the rest goes."""
        beside, _, above, *_ = causal._padding
        kernel, stride = causal.kernel_size[1:], causal.stride[1:]
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            causal.in_channels, causal.out_channels, kernel, stride=stride, padding=(above, beside), device="meta"
        )
        last = causal.weight.detach()[:, :, -1].clone(memory_format=torch.contiguous_format)  # (out, in, h, w)
        self.weight, self.bias = nn.Parameter(last, requires_grad=causal.weight.requires_grad), causal.bias

    def forward(self, input: Tensor) -> Tensor:
        """input: (N, channels, 1, H, W); torch refuses more frames."""
        return super().forward(input.squeeze(2)).unsqueeze(2)


def for_one_frame(vae: Any) -> None:  # noqa: ANN401
    """Changes it where it is; before hooks know its layers. One of another kind, or quantised, stays as it was."""
    layers: dict[str, Any] = dict(vae.named_modules())
    causal = {name: layer for name, layer in layers.items() if isinstance(layer, QwenImageCausalConv3d)}
    if type(vae) is not AutoencoderKLQwenImage or any(
        type(each.weight) is not nn.Parameter for each in causal.values()
    ):
        return
    for name, layer in causal.items():
        vae.set_submodule(name, OneFrameConvolution(layer))
    for name, layer in layers.items():
        if isinstance(layer, QwenImageUpsample):  # which computes in float32, though numbers are only repeated
            vae.set_submodule(name, nn.Upsample(scale_factor=layer.scale_factor, mode=layer.mode))
        if isinstance(layer, QwenImageResample) and layer.mode.endswith("3d"):
            del layer.time_conv  # between frames
    vae.__class__ = OneFrameAutoencoder
