"""Models with ids of one's own, and how weights are kept."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from danqing.core.capabilities import Companion
from danqing.core.errors import ModelLoadFailure
from danqing.core.model_entries import ChosenDefaults, ModelEntry
from danqing.core.types import Mode
from danqing.engine.catalogue import Catalogue
from danqing.engine.families.z_image.capabilities import SAMPLE, TURBO
from danqing.engine.known_models import KnownModels


def entry(**fields: Any) -> ModelEntry:  # noqa: ANN401 - fields of the dataclass
    own: dict[str, Any] = {"place": "models.toml: [models.mine]", "id": "mine"}
    return ModelEntry(**own | fields)


@pytest.fixture
def plain_folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A checkpoint that brings no companion."""
    shutil.copytree(tiny_folder, tmp_path / "plain")
    (tmp_path / "plain" / "danqing.json").write_text("{}")
    return tmp_path / "plain"


def test_the_variants_of_the_seeds_are_built_in() -> None:
    known = KnownModels()
    assert known.find("z-image-turbo-uint4").source == "Disty0/Z-Image-Turbo-SDNQ-uint4-svd-r32"
    assert known.find("z-image-turbo-int8").source == "Disty0/Z-Image-Turbo-SDNQ-int8"
    for model_id, precision in {"sample-uint4": "sdnq-uint4", "sample-int8": "sdnq-int8"}.items():
        card = known.find(model_id)
        assert (card.source, card.precision, card.capabilities) == (SAMPLE.source, precision, SAMPLE.capabilities)


def test_a_precision_is_for_models_that_do_not_say_theirs(plain_folder: Path) -> None:
    entries = [entry(source=str(plain_folder), precision="native"), entry(id="other", source=str(plain_folder))]
    known = KnownModels(entries=entries, precision="torchao-int8")
    names = ("sample", "sample-uint4", str(plain_folder), "mine", "other", "z-image-turbo-int8")

    precisions = [known.find(name).precision for name in names]

    assert precisions == ["torchao-int8", "sdnq-uint4", "torchao-int8", "native", "torchao-int8", "sdnq-int8"]
    # And what a model takes is only known as its makers keep it
    assert known.find("z-image-turbo").memory_bytes is None
    assert KnownModels().find("z-image-turbo").memory_bytes == TURBO.memory_bytes


def test_an_entry_goes_over_what_the_checkpoint_says(plain_folder: Path) -> None:
    defaults = ChosenDefaults(width=512, guidance_scale=2.5)
    known = KnownModels(entries=[entry(source=str(plain_folder), title="Mine", defaults=defaults)])

    card = known.find("mine")

    own = KnownModels().find(str(plain_folder))
    changed = replace(own.defaults, width=512, guidance_scale=2.5)
    assert card == replace(own, id="mine", title="Mine", defaults=changed)
    assert "mine" in known.ids()


def test_an_entry_without_source_changes_the_built_in_model_of_its_id() -> None:
    known = KnownModels(entries=[entry(id="z-image-turbo", revision="abc", precision="sdnq-int8")])

    card = known.find("Tongyi-MAI/Z-Image-Turbo")

    assert (card.id, card.source, card.revision, card.precision) == ("z-image-turbo", TURBO.source, "abc", "sdnq-int8")
    assert known.ids().count("z-image-turbo") == 1
    with pytest.raises(
        ModelLoadFailure, match=r"\[models\.mine\]: source is missing; only a built-in model \(sample, "
    ):
        KnownModels(entries=[entry()]).find("mine")


def test_an_entry_for_a_built_in_checkpoint_needs_no_hub() -> None:
    card = KnownModels(entries=[entry(source=TURBO.source)]).find("mine")

    assert card == replace(TURBO, id="mine")


def test_a_companion_adds_its_mode(plain_folder: Path) -> None:
    companion = Companion(mode=Mode.CONTROLNET, source="some/net", file="net.safetensors")
    assert Mode.CONTROLNET not in KnownModels().find(str(plain_folder)).capabilities.modes

    card = KnownModels(entries=[entry(source=str(plain_folder), companions=(companion,))]).find("mine")

    assert card.companions == (companion,)
    assert Mode.CONTROLNET in card.capabilities.modes
    # And goes before the model's own
    turbo = KnownModels(entries=[entry(id="z-image-turbo", companions=(companion,))]).find("z-image-turbo")
    assert turbo.companions == (companion,)


def test_a_companion_that_the_family_has_no_use_for(plain_folder: Path) -> None:
    companion = Companion(mode=Mode.FILL, source="some/net")
    with pytest.raises(ModelLoadFailure, match="a z_image model takes no companion for fill; there is: controlnet"):
        KnownModels(entries=[entry(source=str(plain_folder), companions=(companion,))]).find("mine")


@pytest.mark.parametrize(
    ("defaults", "message"),
    [
        (ChosenDefaults(width=63), r"\[models\.mine\]: defaults\.width is 63; this model has 64 to 2048"),
        (ChosenDefaults(height=4096), r"defaults\.height is 4096"),
        (ChosenDefaults(num_inference_steps=51), r"defaults\.num_inference_steps is 51; this model has 1 to 50"),
        (ChosenDefaults(guidance_scale=101), r"defaults\.guidance_scale is 101; this model has 0 to 100"),
    ],
)
def test_defaults_that_a_client_could_not_ask_for(plain_folder: Path, defaults: ChosenDefaults, message: str) -> None:
    with pytest.raises(ModelLoadFailure, match=message):
        KnownModels(entries=[entry(source=str(plain_folder), defaults=defaults)]).find("mine")


def test_a_catalogue_offers_entries_too(plain_folder: Path, tiny_folder: Path) -> None:
    known = KnownModels(entries=[entry(source=str(plain_folder))])

    catalogue = Catalogue("mine", others=["sample-int8", str(tiny_folder)], known=known)

    assert [card.id for card in catalogue.cards()] == ["mine", "sample-int8", "tiny", "sample-edit"]
    assert json.loads((plain_folder / "danqing.json").read_text()) == {}
