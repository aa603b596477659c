"""Which models are on offer, and what is refused."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from danqing.config.settings import Settings
from danqing.core.capabilities import FreeSizes, ModelCard, TrainedSizes
from danqing.core.errors import ModelLoadFailure, ParameterOutOfRange, UnknownModel
from danqing.core.resolve import MAX_GUIDANCE, resolve
from danqing.core.sizes import plan_size
from danqing.core.types import Mode, RequestDraft
from danqing.engine.catalogue import Catalogue
from danqing.engine.families.z_image.capabilities import SAMPLE
from danqing.engine.known_models import KnownModels
from danqing.engine.spec import EngineSpec
from tests.unit.engine.tiny_checkpoint import MULTIPLE_OF

TURBO = "Tongyi-MAI/Z-Image-Turbo"


@pytest.mark.parametrize(
    "name, model_id", [("sample", "sample"), ("z-image-turbo", "z-image-turbo"), (TURBO, "z-image-turbo")]
)
def test_known_models_are_found_by_id_and_by_hub_id(name: str, model_id: str) -> None:
    catalogue = Catalogue(name)
    assert catalogue.default().id == model_id
    assert catalogue.card(model_id) == catalogue.default()


def test_only_what_is_named_is_on_offer() -> None:
    catalogue = Catalogue("sample")
    assert [card.id for card in catalogue.cards()] == ["sample", "sample-edit"]
    with pytest.raises(UnknownModel) as caught:
        catalogue.card("z-image-turbo")
    assert caught.value.parameter == "model"
    assert [card.id for card in Catalogue("z-image-turbo").cards()] == ["z-image-turbo"]


@pytest.mark.parametrize("name", ["sample", "z-image-turbo", "flux1-dev", "qwen-image"])
def test_a_prompt_is_as_long_as_openais_clients_may_send_one(name: str) -> None:
    card = Catalogue(name).default()
    assert resolve(RequestDraft(prompt="猫" * 32_000), card).prompt == "猫" * 32_000
    with pytest.raises(ParameterOutOfRange, match="prompt must have at most 32000 characters"):
        resolve(RequestDraft(prompt="猫" * 32_001), card)


def test_the_upscaler_is_no_model() -> None:
    with pytest.raises(UnknownModel):
        Catalogue("sample").card("upscaler")
    # Who calls a model so means it
    assert Catalogue("sample", aliases={"upscaler": "sample"}).card("upscaler").id == "sample"


def test_what_a_model_is_served_with_comes_behind_all_that_are_named() -> None:
    named = Catalogue("z-image-turbo", others=["sample", "qwen-image-edit"])
    assert [card.id for card in named.cards()] == ["z-image-turbo", "sample", "qwen-image-edit", "sample-edit"]
    named = Catalogue("sample-edit", others=["sample"])
    assert [card.id for card in named.cards()] == ["sample-edit", "sample"]


def test_who_leaves_the_model_open_gets_one_that_can_do_it() -> None:
    catalogue = Catalogue(
        "qwen-image-edit", others=["sample"], aliases={"gpt-image-*": "default", "mine": "qwen-image-edit"}
    )
    assert catalogue.default(mode=Mode.TEXT2IMG).id == "sample"
    assert catalogue.card("gpt-image-1", mode=Mode.IMG2IMG).id == "sample"
    assert catalogue.default(mode=Mode.EDIT).id == catalogue.default().id == "qwen-image-edit"
    # Not where another one is asked for by name, nor where there is none
    for name in ("qwen-image-edit", "mine"):
        assert catalogue.card(name, mode=Mode.TEXT2IMG).id == "qwen-image-edit"
    assert Catalogue("qwen-image-edit").default(mode=Mode.TEXT2IMG).id == "qwen-image-edit"


def test_an_instruction_goes_to_who_understands_it() -> None:
    aliases = {"gpt-image-*": "default", "mine": "sample"}
    catalogue = Catalogue("z-image-turbo", others=["qwen-image-edit", "sample"], aliases=aliases)
    assert catalogue.default(instructed=True).id == "qwen-image-edit"
    assert catalogue.card("gpt-image-1", instructed=True).id == "qwen-image-edit"
    # Not where another one is asked for by name, nor where there is none
    assert catalogue.card("mine", instructed=True).id == catalogue.card("sample", instructed=True).id == "sample"
    assert catalogue.card("gpt-image-1").id == "z-image-turbo"
    assert Catalogue("z-image-turbo").default(instructed=True).id == "z-image-turbo"
    assert Catalogue("qwen-image-edit-2509", others=["qwen-image-edit"]).default(instructed=True).id == (
        "qwen-image-edit-2509"
    )


def test_the_bundled_folder_is_the_sample_model() -> None:
    assert Catalogue(SAMPLE.source).default() == SAMPLE


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/folder", "./no/folder", "./folder", "a/b/c", "-a/b", ""])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UnknownModel, match=r"sample, .*z-image-turbo"):
        Catalogue(name)


def test_one_id_is_never_two_models(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "Tiny")
    with pytest.raises(ModelLoadFailure, match="tiny"):
        Catalogue(str(tiny_folder), others=[str(tmp_path / "Tiny")])


def test_a_folder_describes_itself(tiny_folder: Path) -> None:
    card = Catalogue(str(tiny_folder)).default()
    assert (card.id, card.family, card.title, card.source) == ("tiny", "z_image", "tiny", str(tiny_folder.resolve()))
    assert card.capabilities.size_rules == FreeSizes(multiple_of=MULTIPLE_OF, min_side=64, max_pixels=2048 * 2048)


def test_aliases_stand_for_models_but_never_hide_one(tiny_folder: Path) -> None:
    catalogue = Catalogue(str(tiny_folder), aliases={"gpt-image-*": "default", "tiny": "nothing", "odd": "missing"})
    assert catalogue.card("gpt-image-1.5").id == "tiny"
    assert catalogue.card("tiny").id == "tiny"
    for name in ("odd", "gpt", "x" * 10_000):
        with pytest.raises(UnknownModel) as unknown:
            catalogue.card(name)
        assert len(unknown.value.public_message) < 200


@pytest.mark.parametrize(
    ("name", "meant"),
    [("FLUX.1-dev", "flux1-dev"), ("flux1-dev", "flux1-dev"), ("z-image-turbo-int8", "z-image-turbo-int8")],
)
def test_a_documented_name_is_the_model_itself_where_it_is_served_and_else_the_default(name: str, meant: str) -> None:
    aliases = {alias.pattern: alias.model for alias in Settings().model_aliases}

    assert Catalogue("sample", others=["z-image-turbo-int8", "flux1-dev"], aliases=aliases).card(name).id == meant
    assert Catalogue("sample", aliases=aliases).card(name).id == "sample"


def described(folder: Path, copy: Path, description: object) -> ModelCard:
    shutil.copytree(folder, copy)
    (copy / "danqing.json").write_text(json.dumps(description))
    return Catalogue(str(copy)).default()


def test_danqing_json_adds_what_the_ordinary_files_do_not_say(tiny_folder: Path, tmp_path: Path) -> None:
    card = described(tiny_folder, tmp_path / "My Model!", {"title": "Mine", "trained_sizes": [[64, 64], [96, 64]]})
    assert (card.id, card.title) == ("my-model", "Mine")
    assert card.capabilities.size_rules == TrainedSizes(sizes=((64, 64), (96, 64)))


@pytest.mark.parametrize(
    "description",
    [
        {"trained_sizes": []},
        {"trained_sizes": [[64, 63]]},
        {"trained_sizes": [[64]]},
        {"trained_sizes": [[0, 64]]},
        {"trained_sizes": [[-64, 64]]},
        {"trained_size": [[64, 64]]},
        {"title": 5},
        [],
    ],
    ids=str,
)
def test_a_wrong_danqing_json_is_refused(tiny_folder: Path, tmp_path: Path, description: object) -> None:
    with pytest.raises(ModelLoadFailure, match=r"danqing\.json"):
        described(tiny_folder, tmp_path / "wrong", description)


def test_folders_that_hold_no_usable_model_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    # Given folders that lack something, or hold another kind of model
    index = {"none.json": None, "broken": "{", "list": "[]", "other": json.dumps({"_class_name": "OtherPipeline"})}
    for name, content in index.items():
        (tmp_path / name).mkdir()
        if content is not None:
            (tmp_path / name / "model_index.json").write_text(content)
        # Then each is refused, by its name only
        with pytest.raises(ModelLoadFailure, match=name) as caught:
            Catalogue(str(tmp_path / name))
        assert str(tmp_path) not in caught.value.public_message
    # And so is one without an autoencoder
    shutil.copytree(tiny_folder, tmp_path / "bare")
    (tmp_path / "bare" / "vae" / "config.json").unlink()
    with pytest.raises(ModelLoadFailure, match=r"vae/config\.json"):
        Catalogue(str(tmp_path / "bare"))


@pytest.mark.parametrize("model_id", KnownModels().ids())
def test_defaults_are_within_what_the_model_can(model_id: str) -> None:
    card = KnownModels().find(model_id)
    can, defaults = card.capabilities, card.defaults
    assert defaults.width in can.side
    assert defaults.height in can.side
    assert defaults.num_inference_steps in can.steps
    assert 0 <= defaults.guidance_scale <= (MAX_GUIDANCE if can.guidance else 0)
    for side in (card.capabilities.side.minimum, card.capabilities.side.maximum):
        assert plan_size(card.capabilities.size_rules, side, side).final == (side, side)


def test_the_bundled_checkpoint_says_the_same_of_itself() -> None:
    folder = Path(SAMPLE.source)
    if not (folder / "model_index.json").exists() and os.environ.get("CI") != "true":
        pytest.skip("the sample checkpoint is not in this tree")
    own = json.loads((folder / "danqing.json").read_text())
    assert own["title"] == SAMPLE.title
    assert SAMPLE.capabilities.size_rules == TrainedSizes(sizes=tuple(map(tuple, own["trained_sizes"])))


def test_a_spec_crosses_to_another_process(tiny_folder: Path) -> None:
    spec = EngineSpec(cards=tuple(Catalogue("sample", others=[str(tiny_folder)]).cards()))
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_the_server_side_imports_no_torch() -> None:
    code = (
        "import sys; from danqing.engine.catalogue import Catalogue; import danqing.engine.spec; Catalogue('sample'); "
        "print(sorted({'torch', 'diffusers', 'transformers', 'numpy', 'ncnn'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
