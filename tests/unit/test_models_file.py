"""The models file: what it says, and how its author is told what is wrong with it."""

from pathlib import Path

import pytest

from danqing.config import InvalidSettings, load_models_file
from danqing.core.capabilities import Companion
from danqing.core.model_entries import ChosenDefaults, ModelEntry
from danqing.core.types import Mode

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    return tmp_path / "models.toml"


def test_an_entry_with_everything(file: Path) -> None:
    file.write_text(
        """
        [models.my-flux]
        source = "someone/flux"
        revision = "abc"
        title = "My FLUX"
        precision = "sdnq-int8"

        [models.my-flux.defaults]
        width = 768
        height = 512
        num_inference_steps = 20
        guidance_scale = 4
        strength = 0.6

        [models.my-flux.companions]
        controlnet = {source = "a/net", revision = "def", file = "folder/net.safetensors", conditioning_scale = 0.7}
        fill = {source = "./weights", guidance_scale = 30}

        [models."local.one"]
        source = "weights"

        [models.z-image-turbo]
        """
    )
    place, folder = f"{file}: [models.my-flux]", str(file.parent / "weights")
    controlnet = Companion(
        mode=Mode.CONTROLNET, source="a/net", revision="def", file="folder/net.safetensors", conditioning_scale=0.7
    )
    assert load_models_file(file) == (
        ModelEntry(
            place=place,
            id="my-flux",
            source="someone/flux",
            revision="abc",
            title="My FLUX",
            precision="sdnq-int8",
            defaults=ChosenDefaults(width=768, height=512, num_inference_steps=20, guidance_scale=4.0, strength=0.6),
            companions=(controlnet, Companion(mode=Mode.FILL, source=folder, guidance_scale=30.0)),
        ),
        ModelEntry(place=f"{file}: [models.local.one]", id="local.one", source=folder),
        ModelEntry(place=f"{file}: [models.z-image-turbo]", id="z-image-turbo"),
    )


def test_the_default_file_need_not_be_there_but_a_named_one_must(file: Path) -> None:
    assert load_models_file(None, default=file) == ()
    with pytest.raises(InvalidSettings, match=r"models\.toml cannot be read: No such file"):
        load_models_file(file)
    file.write_text("[models.mine]\nsource = 'weights'\n")
    assert [entry.id for entry in load_models_file(None, default=file)] == ["mine"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x =", "is not valid TOML: Invalid value (at end of document)."),
        ("[model.a]", ": model is not known; did you mean models? There is: models."),
        ("models = 5", ": models is 5, but should be a table."),
        ("[models]\na = 5", ": [models.a]: this is 5, but should be a table."),
        ("presicion = 5", ": [models.a]: presicion is not known; did you mean precision? There is: source, revision, "),
        ("zzz = 5", ": [models.a]: zzz is not known. There is: source, revision, title, precision, defaults, "),
        ("precision = 'sdnq-int4'", ": [models.a]: precision is 'sdnq-int4'; did you mean sdnq-uint4? There is: "),
        ("defaults = {steps = 5}", ": [models.a]: defaults.steps is not known. There is: width, height, "),
        ("defaults = {width = '5'}", ": [models.a]: defaults.width is '5', but should be a valid integer."),
        ("defaults = {strength = 2}", ": [models.a]: defaults.strength is 2, but should be less than or equal to 1."),
        ("companions = {controlnt = {}}", ": [models.a]: companions.controlnt is not known; did you mean controlnet? "),
        ("companions = {fill = {}}", ": [models.a]: companions.fill.source is missing."),
        ("companions = {fill = {source = 'a/b', file = '../c.safetensors'}}", "fill.file is '../c.safetensors', but "),
        ("companions = {fill = {source = 'a/b', file = 'c.bin'}}", "but should be a .safetensors file in the source."),
        ("companions = {fill = {source = './no'}}", ": [models.a] companions.fill: source is './no', which "),
        ("source = './no'", ": [models.a]: source is './no', which is neither a folder here nor a hub id."),
        ("source = 'weights'\nrevision = 'x'", "[models.a]: revision goes with a hub id, and weights is a folder."),
        ("source = ''", ": [models.a]: source is '', but should have at least 1 character."),
        ("[models.default]\nsource = 'a/b'", ": [models.default]: an id has letters, "),
        ("[models.'a b']\nsource = 'a/b'", ": [models.a b]: an id has letters, "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(file: Path, text: str, message: str) -> None:
    file.write_text(text if "model" in text or text == "x =" else f"[models.a]\n{text}")
    with pytest.raises(InvalidSettings) as refused:
        load_models_file(file)
    assert str(refused.value).startswith(str(file))
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_everything_that_is_wrong_is_said(file: Path) -> None:
    file.write_text("[models.a]\nsorce = 'a/b'\n[models.b]\ndefaults = {width = 0}\n")
    with pytest.raises(InvalidSettings) as refused:
        load_models_file(file)
    assert len(str(refused.value).splitlines()) == 2


def test_the_documented_file_is_valid(file: Path) -> None:
    document = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    example = document.split("```toml\n")[1].split("```")[0]
    (file.parent / "models" / "my-z-image").mkdir(parents=True)
    file.write_text(example)
    assert [entry.id for entry in load_models_file(file)] == ["my-z-image", "flux-int8", "z-image-turbo"]
