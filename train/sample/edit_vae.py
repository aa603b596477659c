"""The edit model's `AutoencoderKLQwenImage`, begun with what fits of the sample model's `AutoencoderKL`.

It is taught the sample model's latents (see `train_edit_vae.py`), so pictures encoded by either mean the same. For one
frame, only the last slice in time of its kernels matters; the others are zero, and training runs on flat convolutions.
"""

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderKLQwenImage
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageCausalConv3d
from torch import Tensor, nn


def build_edit_vae(shift: float, scale: float) -> AutoencoderKLQwenImage:
    """About 2.5 million numbers, two thirds of them zero. shift, scale: of the sample model's latents."""
    vae = AutoencoderKLQwenImage(
        base_dim=16,
        z_dim=16,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=1,
        temperal_downsample=[False, False, False],
        latents_mean=[shift] * 16,
        latents_std=[1 / scale] * 16,
    )
    with torch.no_grad():
        for module in vae.modules():
            if isinstance(module, QwenImageCausalConv3d) and module.kernel_size[0] > 1:
                module.weight[:, :, :-1] = 0
        for block in (vae.encoder.mid_block, vae.decoder.mid_block):
            block.attentions[0].proj.weight.zero_()
            block.attentions[0].proj.bias.zero_()
            block.attentions[0].requires_grad_(False)  # passes through: on cuts it would learn something else
        vae.quant_conv.weight.zero_()
        vae.quant_conv.bias.zero_()
        vae.quant_conv.weight[:16, :16] = torch.eye(16)[..., None, None, None]
        vae.quant_conv.bias[16:] = -12.0  # no noise: the mean is all there is
        vae.quant_conv.requires_grad_(False)
        vae.post_quant_conv.weight.copy_(torch.eye(16)[..., None, None, None])
        vae.post_quant_conv.bias.zero_()
        vae.post_quant_conv.requires_grad_(False)
    return vae


def _take(mine: nn.Module, theirs: nn.Module) -> None:
    """A convolution's weights, into the last slice in time where there is one, as far as the shapes allow."""
    source, target = theirs.weight, mine.weight[:, :, -1] if mine.weight.ndim == 5 else mine.weight
    if source.shape == target.shape:
        target.copy_(source)
        if mine.bias is not None and theirs.bias is not None:
            mine.bias.copy_(theirs.bias)


def _take_block(mine: nn.Module, theirs: nn.Module) -> None:
    _take(mine.conv1, theirs.conv1)
    _take(mine.conv2, theirs.conv2)
    for gamma, norm in ((mine.norm1.gamma, theirs.norm1), (mine.norm2.gamma, theirs.norm2)):
        if gamma.numel() == norm.weight.numel():
            gamma.copy_(norm.weight.view_as(gamma))
    if hasattr(mine.conv_shortcut, "weight") and theirs.conv_shortcut is not None:
        _take(mine.conv_shortcut, theirs.conv_shortcut)


@torch.no_grad()
def begin_with(vae: AutoencoderKLQwenImage, sample: AutoencoderKL) -> None:
    """Copies the outer levels, where both have the same widths."""
    _take(vae.encoder.conv_in, sample.encoder.conv_in)
    for level in range(3):
        _take_block(vae.encoder.down_blocks[2 * level], sample.encoder.down_blocks[level].resnets[0])
        _take(
            vae.encoder.down_blocks[2 * level + 1].resample[1], sample.encoder.down_blocks[level].downsamplers[0].conv
        )
    for level in range(4):
        for mine, theirs in zip(
            vae.decoder.up_blocks[level].resnets, sample.decoder.up_blocks[level].resnets, strict=True
        ):
            _take_block(mine, theirs)
    _take(vae.decoder.conv_out, sample.decoder.conv_out)


def _flat(self: QwenImageCausalConv3d, x: Tensor, cache_x: None = None) -> Tensor:
    return F.conv2d(x[:, :, 0], self.weight[:, :, -1], self.bias, self.stride[1:], self._padding[0]).unsqueeze(2)


def use_flat_convolutions() -> None:
    """From here on the causal convolutions of this process take one frame only, and do a third of the work."""
    QwenImageCausalConv3d.forward = _flat  # type: ignore[method-assign]
