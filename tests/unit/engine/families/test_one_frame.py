"""Qwen-Image's autoencoder in two dimensions against the library's own, which takes a picture for a video."""

import weakref
from concurrent.futures import ThreadPoolExecutor
from copy import copy, deepcopy
from types import SimpleNamespace
from typing import Any, cast

import diffusers
import pytest
import torch
from accelerate import cpu_offload_with_hook
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from danqing.engine.device import choose_device
from danqing.engine.families.decoding import serves_threads
from danqing.engine.families.one_frame import OneFrameAutoencoder, for_one_frame
from danqing.engine.families.placement import offload_groups, weights_bytes
from danqing.engine.families.qwen_image.capabilities import SAMPLE_EDIT
from danqing.engine.families.qwen_image.latents import decode, encode
from danqing.engine.families.working_memory import estimate_work
from danqing.engine.input_pictures import Pixels
from tests.unit.engine.families.qwen_image.making import differ, picture

untyped = cast(Any, diffusers)
SIZES = [(64, 64), (96, 64), (40, 272)]  # the last is more than a tile of 256


def autoencoder(**own: object) -> Any:  # noqa: ANN401
    """The library's, of random weights, with both kinds of every layer that there are."""
    torch.manual_seed(21)
    config = {
        "base_dim": 8,
        "z_dim": 4,
        "dim_mult": [1, 2, 2],
        "num_res_blocks": 1,
        "temperal_downsample": [False, True],
        "latents_mean": [0.1, -0.2, 0.3, 0.0],
        "latents_std": [0.5, 0.6, 0.7, 0.8],
    }
    vae = untyped.AutoencoderKLQwenImage(**config | own)
    for name, weight in vae.named_parameters():
        if name.endswith("weight"):
            weight.data *= 1.5  # else it makes grey of everything
    return vae.eval().requires_grad_(requires_grad=False)


def in_two_dimensions(vae: Any) -> Any:  # noqa: ANN401
    converted = deepcopy(vae)
    for_one_frame(converted)
    assert isinstance(converted, OneFrameAutoencoder)
    return converted


def pixels(rgb: Pixels) -> Tensor:
    """(1, 3, H, W), -1 to 1."""
    return torch.tensor(rgb).permute(2, 0, 1)[None] / 127.5 - 1


@torch.inference_mode()
def there_and_back(vae: Any, rgb: Pixels) -> tuple[Tensor, Pixels]:  # noqa: ANN401
    """Its latents, and what the autoencoder makes of them."""
    latents = encode(vae, pixels(rgb))
    return latents, decode(vae, latents).read()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "last"])
@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_pictures_and_latents_are_the_librarys_own(
    size: tuple[int, int], tiled: bool, memory_format: torch.memory_format
) -> None:
    own = autoencoder()
    ours = in_two_dimensions(own).to(memory_format=memory_format)
    own.use_tiling = ours.use_tiling = tiled
    (latents, made), (our_latents, our_made) = (there_and_back(vae, picture(1, size)) for vae in (own, ours))
    assert made.std() > 3  # a picture that could differ
    assert torch.allclose(our_latents, latents, atol=1e-5)
    assert differ(our_made, made) <= 1


@pytest.mark.parametrize("size", SIZES)
def test_in_a_short_number_format_they_are_as_near_to_the_exact_ones(size: tuple[int, int]) -> None:
    own = autoencoder()
    latents, made = there_and_back(own, picture(1, size))
    own.to(torch.bfloat16)
    (rounded, theirs), (our_rounded, ours) = (
        there_and_back(vae, picture(1, size)) for vae in (own, in_two_dimensions(own))
    )
    assert (our_rounded - latents).abs().mean() <= 1.2 * (rounded - latents).abs().mean()
    assert differ(ours, made) <= differ(theirs, made) + 1


def test_pictures_of_the_bundled_model_are_the_librarys_own() -> None:
    own = untyped.AutoencoderKLQwenImage.from_pretrained(SAMPLE_EDIT.source, subfolder="vae").eval()
    ours = in_two_dimensions(own)
    for size in ((128, 128), (192, 96)):
        made, our_made = (there_and_back(vae, picture(2, size))[1] for vae in (own, ours))
        assert made.std() > 30
        assert differ(our_made, made) <= 1


def test_weights_that_see_nothing_are_gone() -> None:
    own = autoencoder()
    ours = in_two_dimensions(own)
    assert all(weight.dim() < 5 and weight.is_contiguous() for weight in ours.parameters())
    assert all(weight.untyped_storage().nbytes() == weight.nbytes for weight in ours.parameters())
    assert weights_bytes(ours) < 0.45 * weights_bytes(own)


def test_more_frames_are_refused() -> None:
    with torch.inference_mode(), pytest.raises(RuntimeError, match="conv2d"):
        in_two_dimensions(autoencoder()).decode(torch.zeros(1, 4, 2, 8, 8))


def test_one_of_another_kind_or_quantised_stays_as_it_was() -> None:
    class Quantised(nn.Parameter):
        pass

    other = untyped.AutoencoderKL(norm_num_groups=4, block_out_channels=(8,), latent_channels=4)
    quantised = autoencoder()
    quantised.decoder.conv_in.weight = Quantised(quantised.decoder.conv_in.weight, requires_grad=False)
    for vae in (other, quantised, nn.Identity()):
        layers = [type(each) for each in vae.modules()]
        for_one_frame(vae)
        assert [type(each) for each in vae.modules()] == layers
        assert serves_threads(vae) is (vae is other)


@pytest.mark.parametrize("whole", [True, False])
def test_it_comes_and_goes_with_its_work(whole: bool) -> None:
    own = autoencoder()
    ours = in_two_dimensions(own)
    device = choose_device("cpu", "float32")
    if whole:
        ours, _ = cast(Any, cpu_offload_with_hook)(ours, device.torch_device)
    else:
        offload_groups(ours, device, stream=False)
    for ours.use_tiling in (False, True):
        own.use_tiling = ours.use_tiling
        assert differ(there_and_back(ours, picture(3, SIZES[2]))[1], there_and_back(own, picture(3, SIZES[2]))[1]) <= 1


def test_threads_use_it_at_once() -> None:
    vae = in_two_dimensions(autoencoder())
    assert serves_threads(vae)
    inputs = [picture(seed, (96, 64)) for seed in range(6)]
    alone = [there_and_back(vae, rgb)[1] for rgb in inputs]
    with ThreadPoolExecutor(3) as pool:
        beside = list(pool.map(lambda rgb: there_and_back(copy(vae), rgb)[1], inputs))
    assert all(differ(one, other) <= 1 for one, other in zip(alone, beside, strict=True))


class MostMemory(TorchDispatchMode):
    """most: bytes of all tensors that came into being inside, when they were most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known = weakref.WeakSet[Any]()

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        made = func(*args, **(kwargs or {}))
        storages = [tensor.untyped_storage() for tensor in tree_leaves(made) if isinstance(tensor, Tensor)]
        for storage in storages:
            if storage not in self._known:
                self._known.add(storage)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._gone, storage.nbytes())
        self.most = max(self.most, self.now)
        return made

    def _gone(self, size: int) -> None:
        self.now -= size


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_estimate_is_what_it_works_with(dtype: torch.dtype) -> None:
    # Given one as deep as Qwen-Image's, and what is foreseen for a picture
    deep = {"dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "temperal_downsample": [False, True, True]}
    vae = in_two_dimensions(autoencoder(**deep).to(dtype))
    transformer = SimpleNamespace(dtype=dtype, config=vae.config.__class__(dim=0))
    pipeline = SimpleNamespace(vae=vae, vae_scale_factor=8, transformer=transformer)
    estimate = estimate_work(pipeline, (64, 64), 1, guided=False, tiled=False).decoding
    # When it is made, then that was enough, and not much too much
    latents, image = torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 64, 64)
    with torch.inference_mode(), MostMemory() as decoding:
        decode(vae, latents)
    with torch.inference_mode(), MostMemory() as encoding:
        encode(vae, image)
    assert 0.6 * estimate < decoding.most <= estimate
    assert encoding.most < decoding.most
