"""The text is refined once a call, and nobody sees it in the picture."""

import dataclasses
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload_with_hook
from torch import nn

from danqing.core.types import GenerationRequest
from danqing.engine.catalogue import Catalogue
from danqing.engine.device import choose_device
from danqing.engine.families.adapter import AdapterOptions, Order, Unwatched
from danqing.engine.families.pipelined import PipelinedAdapter
from danqing.engine.families.z_image import pipelines
from danqing.engine.families.z_image.model import ZImage
from danqing.engine.families.z_image.text_once import TextOnce
from danqing.engine.prompt_cache import PromptCache
from tests.contracts.engine import request_for

SIZE = (64, 64)
STEPS = 4


class House:
    """A loaded model, with a count of how often the refiner's first layer ran."""

    def __init__(self, folder: Path) -> None:
        options = AdapterOptions(
            device=choose_device("cpu", "auto"),
            compile=False,
            cpu_offload=False,
            attention=None,
            prompts=PromptCache(max_bytes=1 << 20),
        )
        self.card = Catalogue(str(folder)).default()
        self.model = ZImage(self.card, options)
        self.adapter = PipelinedAdapter(self.card, options, load=lambda *_: self.model)
        self.adapter.load()
        self.runs = 0
        self.model.parts.transformer.context_refiner[0].register_forward_pre_hook(self._count)

    def _count(self, *_: object) -> None:
        self.runs += 1

    def request(self, **changes: object) -> GenerationRequest:
        return request_for(self.card, num_inference_steps=STEPS, **changes)

    def make(self, *requests: GenerationRequest) -> list[np.ndarray]:
        self.runs = 0
        orders = [Order(request=request) for request in requests]
        made = self.adapter.make(orders, SIZE, watchers=[Unwatched()] * len(orders), spare_memory=False)
        return [each.decoded().rgb for each in made if each is not None]


@pytest.fixture(scope="module")
def house(tiny_folder: Path) -> Generator[House]:
    house = House(tiny_folder)
    yield house
    house.adapter.unload()


@pytest.mark.parametrize(
    "changes, runs",
    [
        ({"guidance_scale": 0.0}, 1),
        ({"guidance_scale": 3.5}, 1),
        ({"guidance_scale": 3.5, "cfg_truncation": 0.2}, 2),  # in the first steps the negative texts too, then not
    ],
)
def test_the_same_picture_with_one_run_of_the_refiner(
    house: House, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], runs: int
) -> None:
    # Given two requests whose texts differ in length
    one = house.request(**changes)
    requests = [one, dataclasses.replace(one, prompt=one.prompt * 9, negative_prompt="grey " * 30, seed=7)]
    # When they are made with and without
    once = house.make(*requests)
    assert house.runs == runs
    monkeypatch.setattr(pipelines, "comes_in_layers", lambda _: True)
    each_step = house.make(*requests)
    # Then only the work differs
    assert house.runs == STEPS
    assert len(once) == 2
    assert all(np.array_equal(a, b) for a, b in zip(once, each_step, strict=True))
    assert not np.array_equal(once[0], once[1])


def test_the_next_call_has_texts_of_its_own(house: House) -> None:
    first, second = house.request(prompt="a red cup"), house.request(prompt="a blue pear")
    alone = [house.make(request)[0] for request in (first, second)]
    assert np.array_equal(house.make(first)[0], alone[0])
    assert not np.array_equal(alone[0], alone[1])


def test_the_transformer_is_as_it_was_also_after_an_error(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    transformer = house.model.parts.transformer
    refiner = transformer.context_refiner

    def failing(*_: object) -> None:
        raise RuntimeError("no")

    hook = transformer.layers[0].register_forward_pre_hook(failing)
    with pytest.raises(RuntimeError):
        house.make(house.request())
    hook.remove()
    assert transformer.context_refiner is refiner
    assert set(dict(transformer.named_parameters())) == set(transformer.state_dict())
    house.make(house.request())
    assert transformer.context_refiner is refiner


def test_what_moves_the_transformer_as_it_is_called_moves_its_layers_too(house: House) -> None:
    transformer = house.model.parts.transformer
    once = TextOnce(transformer)
    names = set(dict(transformer.named_parameters()))
    seen = list[set[str]]()

    def look(*_: object) -> None:  # as accelerate's hook does, which moves what it finds
        seen.append(set(dict(transformer.named_parameters())))
        raise Looked

    hook = transformer.register_forward_pre_hook(look)
    with pytest.raises(Looked):
        once()
    hook.remove()
    assert seen == [names]


def test_offloaded_layers_are_where_the_rest_of_the_transformer_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a transformer that is brought to a device as it is called
    transformer = small_transformer()
    refined = list[str]()

    def only_the_refiner(self: Any, texts: torch.Tensor) -> None:  # noqa: ANN401
        for layer in self.context_refiner:
            layer(texts)
            refined.extend(parameter.device.type for parameter in self.context_refiner.parameters())

    monkeypatch.setattr(type(transformer), "forward", only_the_refiner)
    cpu_offload_with_hook(transformer, torch.device("meta"))
    # When the text is refined once
    TextOnce(transformer)(torch.zeros(1, 2, 4))
    # Then its layers came along
    assert set(refined) == {"meta"}


class Looked(Exception):
    """Ends a call."""


def small_transformer() -> nn.Module:
    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.context_refiner = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

    return Transformer()
