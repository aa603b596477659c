"""How an autoencoder keeps its numbers: by rule, or the quicker way where only measuring tells.

A CPU stands for the GPU.
"""

from collections.abc import Callable, Iterator
from typing import Any, cast

import diffusers
import pytest
import structlog.testing
import torch
from torch import nn

from danqing.engine.device import Device, choose_device
from danqing.engine.families import vae_format
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
    assert set_vae_format(vae, CPU, whole=True, compiled=False) == LAST
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
        assert set_vae_format(vae, GPU, whole=True, compiled=False, clock=clock) == expected
    assert is_channels_last(vae) == expected.channels_last
    assert logs[0]["milliseconds"] == {"contiguous": 1000 * contiguous, "channels_last": 1000 * channels_last}


def test_without_memory_to_measure_it_stays_as_it_is(vae: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    def no_memory(*_: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(vae, "decode", no_memory)
    assert set_vae_format(vae, GPU, whole=True, compiled=False) == PLAIN
    assert not is_channels_last(vae)


def test_one_that_comes_and_goes_is_left_alone(vae: Any) -> None:  # noqa: ANN401
    for compiled in (False, True):
        assert set_vae_format(vae, GPU, whole=False, compiled=compiled) == PLAIN
    assert not is_channels_last(vae)


def test_another_kind_is_left_alone() -> None:
    class Videos(nn.Module):
        """As Qwen's is: slower so."""

    for device in (CPU, GPU):
        assert set_vae_format(Videos(), device, whole=True, compiled=True) == PLAIN


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Every compilation from now on; nothing is really compiled, for which there may be no compiler here."""
    made: list[object] = []
    compile_: Callable[..., None] = nn.Module.compile

    def backend(graph: Any, _inputs: object) -> Any:  # noqa: ANN401
        made.append(graph)
        return graph.forward

    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: compile_(self, backend=backend, **options))
    yield made
    torch.compiler.reset()


def test_a_compiled_one_is_so_for_every_size_before_anybody_waits(vae: Any, graphs: list[object]) -> None:  # noqa: ANN401
    # Given what it made before; PyTorch's convolutions on a CPU tell smaller ones apart
    before = {sides: decoded(vae, *sides) for sides in ((28, 28), (26, 40), (64, 32))}
    assert set_vae_format(vae, GPU, whole=True, compiled=True) == VaeFormat(channels_last=True, compiled=True)
    compiled = len(graphs)
    assert compiled
    # Then it makes the same, and nothing is compiled any more
    for sides, expected in before.items():
        assert torch.allclose(decoded(vae, *sides), expected, atol=1e-5)
    assert len(graphs) == compiled


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
