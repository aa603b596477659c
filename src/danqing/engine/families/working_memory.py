"""How much memory a loaded pipeline takes beside its weights, by its shape: for what was never measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Size = tuple[int, int]  # width, height

# Tensors of a layer's size that are alive at once where most are. Counted on the sample model at 512 x 512: 3 and 17;
# Qwen-Image's decoder, as `one_frame` has it, 3, and 3.6 in half precision, for it normalises in float32. Convolutions
# of a GPU want some room beside.
DECODER_COPIES = 4
TRANSFORMER_COPIES = 20
PATCH = 2  # latent pixels that transformers take as one token, each way

# diffusers is not typed: a pipeline is Any.


@dataclass(frozen=True, kw_only=True)
class Work:
    """Bytes beside the weights, about: of denoising all pictures together, and of decoding them one by one."""

    denoising: int
    decoding: int

    @property
    def most(self) -> int:
        """Where all weights are there all the time."""
        return max(self.denoising, self.decoding)

    def beside_largest(self, parts: Mapping[str, int]) -> int:
        """What there is at most, where a part is there only while it runs, beyond the largest part of all.

        parts: bytes of each. The autoencoder, though its work is the most, is small.
        """
        needed = (size + (self.decoding if name.startswith("vae") else self.denoising) for name, size in parts.items())
        return max(needed) - max(parts.values())


def estimate_work(
    pipeline: Any,  # noqa: ANN401
    size: Size,
    pictures: int,
    *,
    guided: bool,
    tiled: bool,
) -> Work:
    """size: of each picture. guided: each is computed twice a step. tiled: the autoencoder works in tiles."""
    pixels = size[0] * size[1]
    tokens = pixels // (pipeline.vae_scale_factor * PATCH) ** 2
    transformer = pipeline.transformer
    item = transformer.dtype.itemsize
    denoising = TRANSFORMER_COPIES * tokens * _width(transformer.config) * item * pictures * (2 if guided else 1)
    decoded = min(pixels, _tile_side(pipeline.vae) ** 2) if tiled else pixels
    # A tiled picture is put together, from the tiles, in float-sized pixels of three channels.
    decoding = DECODER_COPIES * decoded * _full_size_channels(pipeline.vae.config) * pipeline.vae.dtype.itemsize
    return Work(denoising=denoising, decoding=decoding + 4 * 3 * pixels)


def _width(config: Any) -> int:  # noqa: ANN401
    """Numbers of a token, between the transformer's layers."""
    return config.dim if "dim" in config else config.num_attention_heads * config.attention_head_dim


def _full_size_channels(config: Any) -> int:  # noqa: ANN401
    """Numbers of a pixel where the decoder first works at the picture's full size."""
    if "block_out_channels" in config:
        return config.block_out_channels[min(1, len(config.block_out_channels) - 1)]
    return config.base_dim * config.dim_mult[min(1, len(config.dim_mult) - 1)]


def _tile_side(vae: Any) -> int:  # noqa: ANN401
    """Pixels of a tile, each way."""
    side: int = vae.tile_sample_min_height if hasattr(vae, "tile_sample_min_height") else vae.tile_sample_min_size
    return side
