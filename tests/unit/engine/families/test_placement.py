"""Where networks are put: the choice, and that a picture is the same wherever they are.

A CPU that passes for a GPU stands in for one: hooks and moves are diffusers' and accelerate's own.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from danqing.core.capabilities import ModelCard
from danqing.core.errors import EngineFailure
from danqing.core.types import Mode
from danqing.engine.catalogue import Catalogue
from danqing.engine.device import Device, choose_device
from danqing.engine.families import pipelined, placement
from danqing.engine.families.adapter import AdapterOptions, Order, Unwatched
from danqing.engine.families.pipelined import PipelinedAdapter
from danqing.engine.families.placement import (
    Placement,
    assign,
    choose_placement,
    networks,
    weights_bytes,
)
from danqing.engine.families.vae_format import VaeFormat
from danqing.engine.families.working_memory import Work, estimate_work
from danqing.engine.families.z_image.model import z_image_adapter
from danqing.engine.input_pictures import Pixels
from danqing.engine.prompt_cache import PromptCache
from tests.contracts.engine import request_for
from tests.contracts.engine_control import drawing

CPU = torch.device("cpu")
SIZE = (96, 64)
MAP = np.asarray(drawing(*SIZE))
PARTS = {"text_encoder": 40, "transformer": 60, "vae": 5}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretendedGpu(Device):
    """capacity: bytes that it says it has."""

    capacity: int

    @property
    def is_cuda(self) -> bool:
        return True

    def capacity_bytes(self) -> int:
        return self.capacity

    def free_unused_memory(self) -> None:
        """Nothing that torch has cached."""


def gpu(capacity: int = 10**12, *, others: int = 0) -> PretendedGpu:
    return PretendedGpu(torch_device=CPU, dtype=torch.float32, name="x", capacity=capacity, others=(CPU,) * others)


@pytest.mark.parametrize(
    "devices, offload, expected",
    [
        ([120], False, Placement.WHOLE),
        ([120, 120], False, Placement.WHOLE),
        ([100, 100], False, Placement.SPREAD),
        ([114], False, Placement.WHOLE),  # does not fit; loading it says so
        ([50, 50], False, Placement.WHOLE),  # neither
        ([50, 50, 50], False, Placement.SPREAD),  # with the transformer in pieces
        ([120], True, Placement.PARTS),
        ([70], True, Placement.PARTS),
        ([69], True, Placement.GROUPS),
    ],
)
def test_the_placement_follows_from_the_sizes(devices: list[int], offload: bool, expected: Placement) -> None:
    work = Work(denoising=10, decoding=10)
    assert choose_placement(PARTS, devices=devices, work=work, offload=offload) is expected


@pytest.mark.parametrize(
    ("work", "beside"),
    [
        (Work(denoising=10, decoding=10), 10),
        (Work(denoising=10, decoding=60), 10),  # with the autoencoder alone on the device there is room for it
        (Work(denoising=10, decoding=70), 15),
    ],
)
def test_decoding_has_the_room_of_the_parts_that_are_not_there(work: Work, beside: int) -> None:
    assert work.beside_largest(PARTS) == beside
    largest = max(PARTS.values())
    for device, expected in ((largest + beside, Placement.PARTS), (largest + beside - 1, Placement.GROUPS)):
        assert choose_placement(PARTS, devices=[device], work=work, offload=True) is expected


@pytest.mark.parametrize(
    "parts, devices, expected",
    [
        (PARTS, [80, 80], {"vae": 0, "transformer": 0, "text_encoder": 1}),
        (PARTS, [70, 70], {"vae": 0, "transformer": 1, "text_encoder": 0}),
        (PARTS, [60, 60], {"vae": 0, "transformer": None, "text_encoder": 0}),
    ],
)
def test_parts_go_where_there_is_room(
    parts: Mapping[str, int], devices: list[int], expected: Mapping[str, int | None]
) -> None:
    assert assign(parts, devices=devices, working_bytes=10) == expected


def test_weights_count_once_wherever_they_hang_and_as_they_are_kept() -> None:
    class Quantised(nn.Parameter):
        def __tensor_flatten__(self) -> tuple[list[str], None]:
            return ["numbers", "scale"], None

    layer = nn.Linear(8, 8, bias=False)
    tied = nn.Sequential(layer, layer, nn.BatchNorm1d(4, affine=False))
    assert weights_bytes(tied) == 8 * 8 * 4 + 4 * 4 * 2 + 8
    quantised = Quantised(torch.zeros(8, 8))
    quantised.numbers, quantised.scale = torch.zeros(8, 8, dtype=torch.int8), torch.zeros(8)  # type: ignore[attr-defined]
    layer.weight = quantised
    assert weights_bytes(layer) == 64 + 32


def test_what_several_networks_share_counts_once() -> None:
    shared = nn.Linear(8, 8, bias=False)
    one, other = nn.Sequential(shared, nn.Linear(2, 2, bias=False)), nn.Sequential(shared)
    # as some loaders leave them: two parameters, one memory
    third = nn.Linear(8, 8, bias=False)
    third.weight = nn.Parameter(shared.weight.detach())
    assert weights_bytes(one, other, third) == 4 * (64 + 4)
    assert [weights_bytes(each) for each in (one, other, third)] == [4 * (64 + 4), 4 * 64, 4 * 64]


def test_a_network_of_several_pipelines_is_one_and_others_of_its_name_are_others() -> None:
    class Pipeline:
        def __init__(self, **components: object) -> None:
            self.components = components

    shared, own, instead = nn.Linear(2, 2), nn.Linear(3, 3), nn.Linear(4, 4)
    found = networks([Pipeline(vae=shared, transformer=own, tokenizer=None), Pipeline(vae=shared, transformer=instead)])
    assert list(found.values()) == [shared, own, instead]
    assert len(found) == 3


@pytest.fixture(scope="module")
def card(tiny_folder: Path) -> ModelCard:
    card = Catalogue(str(tiny_folder)).default()
    # What warms a GPU up is the usual size, which is none for a CPU
    return dataclasses.replace(card, defaults=dataclasses.replace(card.defaults, width=64, height=64))


@pytest.fixture(autouse=True)
def usual_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "USUAL_SIZE", SIZE)


@pytest.fixture(autouse=True, scope="module")
def one_vae_format() -> Iterator[None]:
    """Else the device decides, and each is rounded differently."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipelined, "set_vae_format", lambda *_, **__: VaeFormat())
        yield


def load(card: ModelCard, device: Device, *, offload: bool = False) -> PipelinedAdapter:
    options = AdapterOptions(
        device=device, compile=False, cpu_offload=offload, attention=None, prompts=PromptCache(max_bytes=1 << 20)
    )
    adapter = z_image_adapter(card, options)
    adapter.load()
    return adapter


def make(adapter: PipelinedAdapter, card: ModelCard, control: Pixels | None = None) -> bytes:
    request = request_for(card, mode=Mode.CONTROLNET if control is not None else Mode.TEXT2IMG)
    order = Order(request=request, control=control)
    (made,) = adapter.make([order], SIZE, watchers=[Unwatched()], spare_memory=False)
    assert made is not None
    return made.decoded().rgb.tobytes()


def assert_same(one: bytes, other: bytes) -> None:
    """To a level: what lies elsewhere may be added up in another order, and a pixel be rounded differently."""
    levels = [np.frombuffer(each, np.uint8).astype(np.int16) for each in (one, other)]
    assert np.abs(levels[0] - levels[1]).max() <= 1


@pytest.fixture(scope="module")
def plain(card: ModelCard) -> PipelinedAdapter:
    return load(card, choose_device("cpu", "float32"))


def parts_of(adapter: PipelinedAdapter) -> dict[str, int]:
    model = cast(Any, adapter)._model
    return {name: weights_bytes(part) for name, part in networks(model.pipelines).items()}


def working_bytes(adapter: PipelinedAdapter) -> int:
    return adapter.working_bytes(SIZE, 1, guided=False, tiled=False, offloaded=False)


@pytest.fixture(scope="module")
def alone(card: ModelCard) -> tuple[dict[str, int], int]:
    """The sizes of the parts while there is no companion, and of the work."""
    adapter = load(card, choose_device("cpu", "float32"))
    return parts_of(adapter), working_bytes(adapter)


def spread_gpu(parts: dict[str, int], working: int) -> PretendedGpu:
    return gpu(max(parts.values()) + working + 1, others=1)


CASES: dict[str, tuple[Callable[[dict[str, int], int], PretendedGpu], bool, Placement]] = {
    "whole": (lambda parts, working: gpu(sum(parts.values()) + working), False, Placement.WHOLE),
    "spread": (spread_gpu, False, Placement.SPREAD),
    "parts": (lambda parts, working: gpu(3 * max(parts.values()) + working), True, Placement.PARTS),
    "layers": (lambda parts, working: gpu(max(parts.values()) - 1), True, Placement.GROUPS),
}


@pytest.mark.parametrize("case", CASES)
def test_a_picture_is_the_same_wherever_the_parts_are(
    card: ModelCard, plain: PipelinedAdapter, alone: tuple[dict[str, int], int], case: str
) -> None:
    # Given a device for which the sizes of the parts leave just this placement
    device_for, offload, expected = CASES[case]
    adapter = load(card, device_for(*alone), offload=offload)
    # Then that is in force, and pictures are the same, with a companion that comes later too
    assert adapter.placement() is expected
    for control in (None, MAP, None):
        assert_same(make(adapter, card, control), make(plain, card, control))
    assert adapter.placement() is expected
    # And only what is simply on one device can leave it
    assert adapter.to_host() is (expected is Placement.WHOLE)
    memory = adapter.memory()
    # What the ControlNet shares with the transformer is there once
    assert sum(parts_of(adapter).values()) > memory.total > sum(alone[0].values())
    assert memory.parts == parts_of(adapter)
    match expected:
        case Placement.WHOLE:
            assert (memory.held, memory.running) == (memory.total, memory.total)
            assert memory.leanest == max(parts_of(adapter).values())
        case Placement.SPREAD:
            assert memory.leanest is None
        case Placement.PARTS:
            assert (memory.held, memory.running, memory.leanest) == (0, max(parts_of(adapter).values()), None)
        case Placement.GROUPS:
            assert (memory.held, memory.running, memory.leanest) == (0, 0, None)


def test_a_model_goes_to_the_host_and_back_and_is_offloaded_for_a_while(
    card: ModelCard, plain: PipelinedAdapter
) -> None:
    adapter = load(card, gpu())
    assert adapter.to_host()
    adapter.to_device()
    with adapter.offloaded():
        assert adapter.placement() is Placement.PARTS
        assert make(adapter, card) == make(plain, card)
        # a companion that comes meanwhile makes another pipeline of the same parts
        assert make(adapter, card, MAP) == make(plain, card, MAP)
    # Then nothing of that is left, whatever happened inside
    assert adapter.placement() is Placement.WHOLE
    with pytest.raises(EngineFailure), adapter.offloaded():
        raise EngineFailure
    assert adapter.placement() is Placement.WHOLE
    assert make(adapter, card) == make(plain, card)
    adapter.unload()
    with pytest.raises(EngineFailure):
        adapter.memory()


def test_the_estimate_grows_with_the_work_and_less_in_tiles(plain: PipelinedAdapter) -> None:
    parts = cast(Any, plain)._model.parts
    large = (1024, 1024)

    def estimate(pictures: int = 1, *, guided: bool = False, tiled: bool = False) -> int:
        return estimate_work(parts, large, pictures, guided=guided, tiled=tiled).most

    assert estimate(16) == 2 * estimate(8, guided=False) == estimate(8, guided=True)
    assert estimate(tiled=True) <= estimate()
    # Of this decoder 8 channels are 16 x 4 bytes a pixel, four times
    decoding = 1024 * 1024 * (4 * 8 * 4 + 12)
    assert estimate() >= decoding


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 1, reason="needs a CUDA device")
@pytest.mark.parametrize("layers", [False, True])
def test_on_a_gpu_an_offloaded_model_leaves_it(card: ModelCard, plain: PipelinedAdapter, layers: bool) -> None:
    parts = parts_of(load(card, choose_device("cpu", "float32")))
    device = choose_device("cuda", "float32", memory_bytes=max(parts.values()) - 1 if layers else None)
    before = torch.cuda.memory_allocated()
    adapter = load(card, device, offload=True)
    first = make(adapter, card)
    assert adapter.placement() is (Placement.GROUPS if layers else Placement.PARTS)
    assert make(adapter, card) == first
    assert torch.cuda.memory_allocated() - before < sum(parts.values()) / 2


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 1, reason="needs a CUDA device")
def test_on_a_gpu_a_model_leaves_and_comes_back(card: ModelCard) -> None:
    before = torch.cuda.memory_allocated()
    adapter = load(card, choose_device("cuda", "float32"))
    first, held = make(adapter, card), torch.cuda.memory_allocated() - before
    assert adapter.to_host()
    assert torch.cuda.memory_allocated() - before < held / 2
    adapter.to_device()
    assert make(adapter, card) == first
    with adapter.offloaded():
        make(adapter, card)
    assert make(adapter, card) == first


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("share", [0.8, 0.6])
def test_on_two_gpus_a_model_is_spread(card: ModelCard, share: float) -> None:
    whole = load(card, choose_device("cuda", "float32"))
    parts = parts_of(load(card, choose_device("cpu", "float32")))
    limit = int(share * sum(parts.values())) + working_bytes(whole)
    adapter = load(card, choose_device("cuda:0+cuda:1", "float32", memory_bytes=limit))
    assert adapter.placement() is Placement.SPREAD
    assert make(adapter, card) == make(whole, card)
    assert make(adapter, card, MAP) == make(whole, card, MAP)
