"""What a model does as it is loaded: a first picture, in any way that there is memory for; and what it tells then."""

import dataclasses
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel

from danqing.core.capabilities import ModelCard
from danqing.core.types import ModelStatus
from danqing.engine.catalogue import Catalogue
from danqing.engine.device import Device, choose_device
from danqing.engine.families import pipelined, vae_format, warm_up
from danqing.engine.families.adapter import AdapterOptions, Order, Unwatched
from danqing.engine.families.pipelined import PipelinedAdapter
from danqing.engine.families.placement import Placement
from danqing.engine.families.z_image.model import z_image_adapter
from danqing.engine.host_memory import HostMemory
from danqing.engine.prompt_cache import PromptCache
from tests.contracts.engine import request_for


class PretendedGpu(Device):
    @property
    def is_cuda(self) -> bool:
        return True

    def capacity_bytes(self) -> int:
        return 10**12

    def free_unused_memory(self) -> None:
        """Nothing that torch has cached."""


GPU = PretendedGpu(torch_device=torch.device("cpu"), dtype=torch.float32, name="x")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vae_format, "MEASURED_SIDE", 32)


@pytest.fixture(scope="module")
def card(tiny_folder: Path) -> ModelCard:
    card = Catalogue(str(tiny_folder)).default()
    return dataclasses.replace(card, defaults=dataclasses.replace(card.defaults, width=64, height=64))


def adapter_of(card: ModelCard, device: Device = GPU, **options: Any) -> PipelinedAdapter:  # noqa: ANN401
    plain = AdapterOptions(
        device=device, compile=False, cpu_offload=False, attention=None, prompts=PromptCache(max_bytes=1 << 20)
    )
    return z_image_adapter(card, dataclasses.replace(plain, **options))


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> Callable[[PipelinedAdapter, list[Exception]], list[str]]:
    """Has the pictures that an adapter makes fail one after another; returns how each was tried."""

    def failing(adapter: PipelinedAdapter, errors: list[Exception]) -> list[str]:
        seen: list[str] = []
        make = adapter.make

        def watched(*args: Any, spare_memory: bool, **kwargs: Any) -> object:  # noqa: ANN401
            offloaded = adapter.placement() is Placement.PARTS
            seen.append("offloaded" if offloaded else "tiled" if spare_memory else "plain")
            if errors:
                raise errors.pop(0)
            return make(*args, spare_memory=spare_memory, **kwargs)

        monkeypatch.setattr(adapter, "make", watched)
        return seen

    return failing


def out_of_memory() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_the_first_picture_is_made_in_the_first_way_that_there_is_memory_for(
    card: ModelCard, tries: Callable[..., list[str]], failures: int
) -> None:
    adapter = adapter_of(card)
    seen = tries(adapter, [out_of_memory() for _ in range(failures)])
    adapter.load()
    assert seen == ["plain", "tiled", "offloaded"][: failures + 1]
    assert adapter.placement() is Placement.WHOLE


def test_without_memory_in_any_way_it_is_an_error(card: ModelCard, tries: Callable[..., list[str]]) -> None:
    adapter = adapter_of(card)
    seen = tries(adapter, [out_of_memory() for _ in range(3)])
    with pytest.raises(torch.OutOfMemoryError):
        adapter.load()
    assert seen == ["plain", "tiled", "offloaded"]


def test_weights_that_the_host_has_no_room_for_do_not_leave(
    card: ModelCard, tries: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelined, "host_memory", lambda: HostMemory(total_bytes=10**12, available_bytes=1))
    adapter = adapter_of(card)
    seen = tries(adapter, [out_of_memory() for _ in range(2)])
    with pytest.raises(torch.OutOfMemoryError):
        adapter.load()
    assert seen == ["plain", "tiled"]


def test_another_error_is_not_tried_again(card: ModelCard, tries: Callable[..., list[str]]) -> None:
    adapter = adapter_of(card)
    seen = tries(adapter, [RuntimeError("CUDA error: device-side assert triggered")])
    with pytest.raises(RuntimeError, match="device-side"):
        adapter.load()
    assert seen == ["plain"]


def test_it_tells_how_it_is_run(card: ModelCard) -> None:
    on_cpu = adapter_of(card, choose_device("cpu", "auto"))
    on_cpu.load()
    assert on_cpu.status() == ModelStatus(
        id=card.id,
        placement="whole",
        precision="native",
        dtype="float32",
        attention="native",
        compiled=False,
        vae="channels_last",
        step_cache=False,
    )
    # It goes to the server, which must not import an engine, and torch with it, to read it
    assert b"danqing.engine" not in pickle.dumps(on_cpu.status())
    offloaded = adapter_of(card, cpu_offload=True)
    offloaded.load()
    assert (offloaded.status().placement, offloaded.status().vae) == ("model_offload", "contiguous")
    with pytest.MonkeyPatch.context() as patch:  # diffusers would remember it for the whole process
        patch.setattr(ZImageTransformer2DModel, "set_attention_backend", lambda *_: None)
        chosen = adapter_of(card, attention=SimpleNamespace(kernel_for=lambda _: "_native_math"))
        chosen.load()
    assert chosen.status().attention == "_native_math"


@pytest.mark.skipif("LONG_TESTS" not in os.environ, reason="takes a quarter of a minute: LONG_TESTS=1")
def test_a_compiled_model_is_so_for_whatever_is_asked_for_later(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a note of every compilation; the decoder's convolutions, which a CPU tells apart by size, left out
    graphs: list[object] = []
    compile_: Callable[..., None] = torch.nn.Module.compile

    def backend(graph: Any, _inputs: object) -> Any:  # noqa: ANN401
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: compile_(self, backend=backend, **options))
    monkeypatch.setattr(pipelined, "set_vae_format", lambda *_, **__: vae_format.VaeFormat())
    monkeypatch.setattr(warm_up, "SIDE_IN_BATCHES", 64)
    adapter = adapter_of(card, choose_device("cpu", "auto"), compile=True)
    adapter.load()
    before = len(graphs)
    assert before
    # When pictures are made alone and together, of several sizes, with texts of equal and other length, and guided
    for size, prompts, guidance_scale in (
        ((96, 64), ("a red apple",), 0.0),
        ((64, 64), ("a", "a"), 0.0),
        ((96, 64), ("a", "a red apple", "a picture of very many things"), 0.0),
        ((64, 96), ("a red apple",), 3.0),
        ((64, 96), ("a", "a red apple"), 3.0),
    ):
        request = request_for(card, guidance_scale=guidance_scale, num_inference_steps=1)
        orders = [Order(request=dataclasses.replace(request, prompt=prompt)) for prompt in prompts]
        adapter.make(orders, size, watchers=[Unwatched()] * len(orders), spare_memory=False)
    # Then nothing is compiled any more
    assert len(graphs) == before
    torch.compiler.reset()
