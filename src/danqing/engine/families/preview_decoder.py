"""Latents to a small picture of what they will become, quick enough to be made after every step.

A checkpoint in a local folder may bring a network for it. For any other, the colour of each latent pixel is taken as a
linear function of its channels, fitted as the model is loaded to what its own autoencoder makes of a chart; where no
such function comes near, the autoencoder itself makes the previews.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import structlog
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, PositiveInt
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn
from torch.nn.functional import interpolate

from danqing.core.capabilities import ModelCard
from danqing.core.errors import EngineFailure, ModelLoadFailure
from danqing.engine.families.adapter import AdapterOptions
from danqing.engine.families.loading import is_local, translated_loading
from danqing.engine.families.own_description import read_description
from danqing.engine.input_pictures import Pixels
from danqing.engine.launched import Levels, levels

FOLDER = "preview_decoder"  # beside model_index.json, which does not name it: diffusers leaves it alone
CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
CHART_SIDE = 256  # pixels
CHART_CELLS = (8, 16, 32, 64)  # pixels
ENLARGED_SIDE = 512  # pixels
MOST_UNEXPLAINED = 0.3  # of the variance of colours
THINGS = 12
RIDGE = 1e-4  # of the variance of latents, which is about 1

log = structlog.get_logger(__name__)
Decode = Callable[[Tensor], Levels]  # of latents (1, channels, h, w)


class PreviewDecoderConfig(BaseModel):
    """`preview_decoder/config.json`. scale: pixels for each latent pixel, each way; width: channels in between."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    latent_channels: PositiveInt
    width: PositiveInt
    scale: PositiveInt


class PreviewDecoder(nn.Module):
    """Three convolutions, trained to show what an autoencoder would."""

    def __init__(self, config: PreviewDecoderConfig) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(config.latent_channels, config.width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(config.width, config.width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(config.width, 3 * config.scale**2, 3, padding=1),
            nn.PixelShuffle(config.scale),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """latents: (N, channels, h, w), as the transformer takes them. Returns (N, 3, scale * h, scale * w), -1 to 1 or
        a little beyond.
        """
        return self.layers(latents)


class Enlarged(nn.Module):
    """Pictures so many times as large, but no larger than ENLARGED_SIDE: on a GPU at hardly any cost, unlike later."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures: (N, 3, h, w)."""
        height, width = pictures.shape[2:]
        times = max(1.0, min(self.times, ENLARGED_SIDE / max(height, width)))
        return interpolate(pictures, size=(round(height * times), round(width * times)), mode="bicubic")


def choose_preview(
    card: ModelCard, options: AdapterOptions, *, channels: int, encode: Callable[[Tensor], Tensor], decode: Decode
) -> Decode:
    """The quickest way from the model's latents to a picture of the same shape, of any size.

    channels: of its latents. encode, decode: by its autoencoder; an image is (1, 3, H, W), -1 to 1, and its latents are
    (1, channels, h, w), as the transformer takes them. Raises ModelLoadFailure for a damaged network, or one of another
    kind.
    """
    network: nn.Module | None = _own_network(card, channels)
    if network is None:
        network = _fitted(encode, decode, options.device.torch_device)
    if network is None:
        log.info("previews_need_the_whole_autoencoder", model=card.id)
        return decode
    ready = network.requires_grad_(requires_grad=False)
    # Latents need not be where the model's parts are kept.
    return lambda latents: levels(ready.to(latents.device)(latents.float()))


def _own_network(card: ModelCard, channels: int) -> PreviewDecoder | None:
    """What the checkpoint brings; None if it brings none."""
    folder = Path(card.source, FOLDER)
    if not is_local(card) or not folder.is_dir():
        return None
    config = read_description(folder / CONFIG, PreviewDecoderConfig)
    if config.latent_channels != channels:
        raise ModelLoadFailure(f"Model {card.id}: its {FOLDER} belongs to another model.")
    network = PreviewDecoder(config)
    with translated_loading(card):
        network.load_state_dict(load_file(folder / WEIGHTS))
    return network


def _fitted(encode: Callable[[Tensor], Tensor], decode: Decode, device: torch.device) -> nn.Module | None:
    """One colour for each latent pixel, by least squares; None where too much of another chart stays unexplained."""
    try:
        samples, colours = _seen(_mosaic(), encode, decode, device)
        others, their_colours = _seen(_scattered(), encode, decode, device)
    except EngineFailure:  # which the model's first picture will tell
        return None
    mean, mean_colour = samples.mean(0), colours.mean(0)
    centred = samples - mean
    damping = RIDGE * len(samples) * torch.eye(samples.shape[1], dtype=samples.dtype)
    factors = torch.inverse(centred.T @ centred + damping) @ centred.T @ (colours - mean_colour)  # (channels, 3)
    bias = mean_colour - mean @ factors
    unexplained = (their_colours - others @ factors - bias).square().mean()
    if not unexplained < MOST_UNEXPLAINED * their_colours.var(0).mean():
        return None
    return nn.Sequential(linear_map(factors, bias), Enlarged(round(CHART_SIDE / len(samples) ** 0.5)))


def _seen(
    chart: Pixels, encode: Callable[[Tensor], Tensor], decode: Decode, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Latent pixels (count, channels), and what colour (count, 3), -1 to 1, the autoencoder makes of each; float64."""
    image = torch.tensor(chart).permute(2, 0, 1)[None].float() / 127.5 - 1  # (1, 3, side, side)
    with torch.inference_mode():
        latents = encode(image.to(device))
        made = decode(latents).read()
    _, channels, height, width = latents.shape
    cells = made.reshape(height, CHART_SIDE // height, width, CHART_SIDE // width, 3).mean((1, 3))  # (h, w, 3)
    samples = latents[0].cpu().double().reshape(channels, -1).T  # (h * w, channels)
    return samples, torch.tensor(cells).reshape(-1, 3) / 127.5 - 1


def linear_map(factors: Tensor, bias: Tensor) -> nn.Conv2d:
    """factors: (channels, 3), from latents to RGB of -1 to 1. bias: (3,)."""
    convolution = nn.Conv2d(len(factors), 3, 1)
    convolution.load_state_dict({"weight": factors.T[:, :, None, None], "bias": bias})
    return convolution


def _mosaic() -> Pixels:
    """Patches of all colours, some soft and some hard, of every size down to a latent pixel: uint8 (side, side, 3)."""
    rng = np.random.default_rng(0)
    chart = np.zeros((CHART_SIDE, CHART_SIDE, 3), np.uint8)
    strips = np.array_split(np.arange(CHART_SIDE), len(CHART_CELLS))
    for cell, rows in zip(CHART_CELLS, strips, strict=True):
        count = CHART_SIDE // cell
        patches = Image.fromarray(rng.integers(0, 256, (count, count, 3), np.uint8))
        for half, method in enumerate((Image.Resampling.NEAREST, Image.Resampling.BICUBIC)):
            drawn = np.asarray(patches.resize((CHART_SIDE, CHART_SIDE), method))
            columns = slice(half * CHART_SIDE // 2, (half + 1) * CHART_SIDE // 2)
            chart[rows, columns] = drawn[rows, columns]
    return chart


def _scattered() -> Pixels:
    """A few things on a plain ground, uint8 (side, side, 3): unlike a mosaic, as most pictures are."""
    rng = np.random.default_rng(1)
    chart = np.full((CHART_SIDE, CHART_SIDE, 3), rng.integers(0, 256, 3), np.uint8)
    for _ in range(THINGS):
        height, width = (int(side) for side in rng.integers(CHART_SIDE // 16, CHART_SIDE // 3, 2))
        top, left = (int(rng.integers(CHART_SIDE - side)) for side in (height, width))
        chart[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return chart
