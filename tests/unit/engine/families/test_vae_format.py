"""How an autoencoder keeps its numbers: by rule, or the quicker way where only measuring tells.

A CPU stands for the GPU.
"""

from collections.abc import Callable, Iterator
from typing import Any, cast

import diffusers
import pytest
import structlog.testing
import torch

from danqing.engine.device import Device, choose_device
from danqing.engine.families import vae_format
from danqing.engine.families.one_frame import for_one_frame
from danqing.engine.families.vae_format import VaeFormat, set_vae_format

untyped = cast(Any, diffusers)
CPU = choose_device("cpu", "auto")
PLAIN, LAST = VaeFormat(), VaeFormat(channels_last=True)


class PretendedGpu(Device):
    @property
    def is_cuda(self) -> bool:
        return True


GPU = PretendedGpu(torch_device=torch.device("cpu"), dtype=torch.float32, name="x")


@pytest.fixture
def vae() -> Any:  # noqa: ANN401
    torch.manual_seed(1)
    return untyped.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        sample_size=32,
        use_post_quant_conv=False,
    ).eval()


@pytest.fixture
def videos() -> Any:  # noqa: ANN401
    """The library's autoencoder of Qwen-Image."""
    torch.manual_seed(1)
    return untyped.AutoencoderKLQwenImage(
        base_dim=4, z_dim=4, dim_mult=[1, 1, 2], num_res_blocks=1, temperal_downsample=[False, True]
    ).eval()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vae_format, "MEASURED_SIDE", 16)


def is_channels_last(vae: Any) -> bool:  # noqa: ANN401
    weight = vae.decoder.up_blocks[0].resnets[0].conv1.weight
    return not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last)


def decoded(vae: Any, *sides: int) -> torch.Tensor:  # noqa: ANN401
    generator = torch.Generator("cpu").manual_seed(2)
    with torch.inference_mode():
        return vae.decode(torch.randn((1, 4, *sides), generator=generator)).sample


class Clock:
    """A decoding takes so many seconds, by the order of the numbers."""

    def __init__(self, vae: Any, *, contiguous: float, channels_last: float) -> None:  # noqa: ANN401
        self.now = 0.0
        decode = vae.decode

        def timed(*args: object, **kwargs: object) -> object:
            self.now += channels_last if is_channels_last(vae) else contiguous
            return decode(*args, **kwargs)

        vae.decode = timed

    def __call__(self) -> float:
        return self.now


def test_on_a_cpu_channels_are_last(vae: Any) -> None:  # noqa: ANN401
    before = decoded(vae, 6, 8)
    assert set_vae_format(vae, CPU, whole=True, compiled_for=None) == LAST
    assert is_channels_last(vae)
    assert torch.allclose(decoded(vae, 6, 8), before, atol=1e-5)


@pytest.mark.parametrize(
    ("contiguous", "channels_last", "expected"), [(2, 1, LAST), (1, 2, PLAIN), (1.02, 1, PLAIN), (1.05, 1, LAST)]
)
def test_on_a_gpu_the_quicker_one_is_taken(
    vae: Any,  # noqa: ANN401
    contiguous: float,
    channels_last: float,
    expected: VaeFormat,
) -> None:
    clock = Clock(vae, contiguous=contiguous, channels_last=channels_last)
    with structlog.testing.capture_logs() as logs:
        assert set_vae_format(vae, GPU, whole=True, compiled_for=None, clock=clock) == expected
    assert is_channels_last(vae) == expected.channels_last
    assert logs[0]["milliseconds"] == {"contiguous": 1000 * contiguous, "channels_last": 1000 * channels_last}


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")]
)
def test_without_memory_to_measure_it_stays_as_it_is(
    vae: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def no_memory(*_: object) -> object:
        raise error

    monkeypatch.setattr(vae, "decode", no_memory)
    assert set_vae_format(vae, GPU, whole=True, compiled_for=None) == PLAIN
    assert not is_channels_last(vae)


def test_one_that_comes_and_goes_is_left_alone(vae: Any) -> None:  # noqa: ANN401
    for compiled_for in (None, (32, 32)):
        assert set_vae_format(vae, GPU, whole=False, compiled_for=compiled_for) == PLAIN
    assert not is_channels_last(vae)


def test_one_of_three_dimensions_is_left_alone(videos: Any) -> None:  # noqa: ANN401
    for device in (CPU, GPU):
        assert set_vae_format(videos, device, whole=True, compiled_for=(32, 32)) == PLAIN
    assert not is_channels_last(videos)


def test_of_one_frame_channels_are_last_on_a_cpu_and_on_a_gpu_where_that_is_quicker(videos: Any) -> None:  # noqa: ANN401
    for_one_frame(videos)
    assert set_vae_format(videos, CPU, whole=True, compiled_for=None) == LAST
    assert is_channels_last(videos)
    # On a GPU, where it is not compiled either
    for expected in (PLAIN, LAST):
        clock = Clock(videos, contiguous=2, channels_last=1 if expected is LAST else 3)
        assert set_vae_format(videos, GPU, whole=True, compiled_for=(32, 32), clock=clock) == expected
        assert is_channels_last(videos) is (expected is LAST)
        del videos.decode


@pytest.fixture
def through() -> list[tuple[int, ...]]:
    """Sides of the latents that went through what was compiled."""
    return []


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch, through: list[tuple[int, ...]]) -> Iterator[list[object]]:
    """Every compilation from now on; nothing is really compiled, for which there may be no compiler here."""
    made: list[object] = []
    compile_: Callable[..., Any] = torch.compile

    def backend(graph: Any, _inputs: object) -> Any:  # noqa: ANN401
        made.append(graph)
        return graph.forward

    def counted(function: Callable[..., Any], *, dynamic: bool, options: object) -> Callable[..., Any]:
        compiled = compile_(function, dynamic=dynamic, backend=backend)

        def call(latents: torch.Tensor, *others: object) -> object:
            through.append(tuple(latents.shape[2:]))
            return compiled(latents, *others)

        return call

    monkeypatch.setattr(torch, "compile", counted)
    yield made
    torch.compiler.reset()


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_compiled_one_is_so_for_the_usual_size_and_nobody_waits_for_another(
    vae: Any,  # noqa: ANN401
    graphs: list[object],
    through: list[tuple[int, ...]],
    channels_last: bool,
) -> None:
    # Given what it made before, of pictures of twice so many pixels each way
    before = {sides: decoded(vae, *sides) for sides in ((16, 24), (24, 16), (16, 16))}
    clock = Clock(vae, contiguous=2, channels_last=1 if channels_last else 3)
    expected = VaeFormat(channels_last=channels_last, compiled=True)
    assert set_vae_format(vae, GPU, whole=True, compiled_for=(48, 32), clock=clock) == expected
    assert (len(graphs), through) == (1, [(16, 24)])
    # Then it makes the same, nothing is compiled any more, and only the usual size goes through what was
    for sides, picture in before.items():
        assert torch.allclose(decoded(vae, *sides), picture, atol=1e-5)
    assert (len(graphs), through) == (1, [(16, 24)] * 2)


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (PLAIN, "contiguous"),
        (LAST, "channels_last"),
        (VaeFormat(channels_last=True, compiled=True), "channels_last, compiled"),
    ],
)
def test_it_is_told_in_words(of: VaeFormat, words: str) -> None:
    assert str(of) == words
