"""What every family does with a request's LoRAs. Subclasses give the fixtures `folder` and `card`, and `load`."""

import dataclasses
import itertools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from danqing.core.capabilities import ModelCard
from danqing.core.errors import LoraFailure
from danqing.core.types import Lora
from danqing.engine.device import choose_device
from danqing.engine.families.adapter import MadePicture, Order, Unwatched
from danqing.engine.families.pipelined import PipelinedAdapter
from danqing.engine.lora_files import LoraFiles
from danqing.engine.loras import LoraPool
from tests.contracts.engine import request_for

SIZE = (96, 64)
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
RANK = 3


def random_lora(weights: Mapping[str, Tensor], layers: Sequence[str], *, seed: int) -> dict[str, Tensor]:
    """In diffusers' words, of these layers; strong enough to be seen."""
    generator = torch.Generator("cpu").manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for layer in layers:
        wide, tall = weights[f"{layer}.weight"].shape[1], weights[f"{layer}.weight"].shape[0]
        tensors[f"transformer.{layer}.lora_A.weight"] = torch.randn(RANK, wide, generator=generator) / wide**0.5
        tensors[f"transformer.{layer}.lora_B.weight"] = torch.randn(tall, RANK, generator=generator)
    return tensors


def merged(weights: Mapping[str, Tensor], lora: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """The weights as they would be if the LoRA were a part of them."""
    changed = dict(weights)
    for key, down in lora.items():
        layer, found, _ = key.removeprefix("transformer.").partition(".lora_A")
        if found:
            up = lora[f"transformer.{layer}.lora_B.weight"]
            changed[f"{layer}.weight"] = changed[f"{layer}.weight"] + scale * up @ down
    return changed


def pool_of(folder: Path, *, max_bytes: int = 1 << 20) -> LoraPool:
    return LoraPool(LoraFiles(folder), choose_device("cpu", "auto"), max_bytes=max_bytes)


class LoraContract:
    """layers: of the transformer, two at least, that LoRAs of the family usually change."""

    layers: Sequence[str]

    @classmethod
    def load(cls, card: ModelCard, loras: LoraPool | None = None) -> PipelinedAdapter:
        raise NotImplementedError

    def make(
        self, adapter: PipelinedAdapter, card: ModelCard, *loras: Lora, seeds: Sequence[int] = (7,)
    ) -> list[bytes]:
        request = request_for(card, loras=loras, num_inference_steps=2)
        orders = [Order(request=dataclasses.replace(request, seed=seed)) for seed in seeds]
        made = adapter.make(orders, SIZE, watchers=[Unwatched()] * len(orders), spare_memory=False)
        assert all(isinstance(picture, MadePicture) for picture in made)
        return [picture.decoded().rgb.tobytes() for picture in made if picture is not None]

    @pytest.fixture(scope="class")
    @classmethod
    def weights(cls, folder: Path) -> dict[str, Tensor]:
        return load_file(folder / WEIGHTS)

    @pytest.fixture(scope="class")
    @classmethod
    def lora_folder(cls, weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("loras")
        save_file(random_lora(weights, cls.layers, seed=1), folder / "one.safetensors")
        save_file(random_lora(weights, cls.layers[:1], seed=2), folder / "two.safetensors")
        narrower = {key: weight[:, :-1] for key, weight in weights.items() if weight.ndim == 2}
        save_file(random_lora(narrower, cls.layers, seed=1), folder / "foreign.safetensors")
        return folder

    @pytest.fixture(scope="class")
    @classmethod
    def adapter(cls, card: ModelCard, lora_folder: Path) -> PipelinedAdapter:
        return cls.load(card, pool_of(lora_folder))

    @staticmethod
    def _tensors(folder: Path, name: str) -> dict[str, Tensor]:
        return load_file(folder / f"{name}.safetensors")

    def test_pictures_are_those_of_the_merged_weights(
        self,
        folder: Path,
        card: ModelCard,
        weights: dict[str, Tensor],
        lora_folder: Path,
        adapter: PipelinedAdapter,
        tmp_path: Path,
    ) -> None:
        # Given a checkpoint that has two LoRAs built in
        asked = (Lora(name="one", scale=0.75), Lora(name="two", scale=-0.5))
        changed: Mapping[str, Tensor] = weights
        for lora in asked:
            changed = merged(changed, self._tensors(lora_folder, lora.name), lora.scale)
        shutil.copytree(folder, tmp_path / "built_in")
        save_file(dict(changed), tmp_path / "built_in" / WEIGHTS, metadata={"format": "pt"})
        built_in = self.load(dataclasses.replace(card, source=str(tmp_path / "built_in")))

        # When both make the picture
        ours, expected = (
            np.frombuffer(picture, np.uint8).astype(int)
            for picture in (*self.make(adapter, card, *asked), *self.make(built_in, card))
        )

        # Then they agree but for rounding, and not because nothing happened
        assert np.abs(ours - expected).max() <= 1
        plain = np.frombuffer(self.make(adapter, card)[0], np.uint8).astype(int)
        assert np.abs(ours - plain).max() > 3

    def test_the_next_request_is_as_if_there_had_been_none(
        self, card: ModelCard, lora_folder: Path, adapter: PipelinedAdapter
    ) -> None:
        # Given a model that never saw a LoRA, and one that has made pictures with several in between
        untouched = self.make(self.load(card), card)
        asked = [(), (Lora(name="one"),), (Lora(name="one", scale=0.25), Lora(name="two")), (Lora(name="two"),)]
        made = [self.make(adapter, card, *loras) for loras in (*asked, *asked)]

        # Then a LoRA's pictures are always the same, each another one, and those without one are the untouched model's
        assert made[:4] == made[4:]
        assert made[0] == untouched
        assert all(one != other for one, other in itertools.combinations(made[:4], 2))

    def test_a_batch_has_the_pictures_that_are_made_alone(self, card: ModelCard, adapter: PipelinedAdapter) -> None:
        lora = Lora(name="one", scale=0.5)
        together = self.make(adapter, card, lora, seeds=(7, 8))
        for picture, seed in zip(together, (7, 8), strict=True):
            (alone,) = self.make(adapter, card, lora, seeds=(seed,))
            difference = np.frombuffer(picture, np.uint8).astype(int) - np.frombuffer(alone, np.uint8)
            assert np.abs(difference).max() <= 2

    def test_one_that_does_not_fit_is_named_and_leaves_nothing(
        self, card: ModelCard, adapter: PipelinedAdapter
    ) -> None:
        before = self.make(adapter, card)
        with pytest.raises(LoraFailure) as failed:
            self.make(adapter, card, Lora(name="one"), Lora(name="foreign"))
        assert failed.value.public_message == f"LoRA foreign does not fit model {card.id}: it was made for another one."
        assert self.make(adapter, card) == before

    def test_one_that_is_gone_is_named(self, card: ModelCard, adapter: PipelinedAdapter) -> None:
        with pytest.raises(LoraFailure, match=f"There is no LoRA gone for model {card.id} any more."):
            self.make(adapter, card, Lora(name="gone"))
