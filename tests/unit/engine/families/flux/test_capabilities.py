"""What FLUX checkpoints say of themselves, and what is refused of them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from danqing.core.capabilities import FreeSizes, ModelCard, TrainedSizes
from danqing.core.errors import ModelLoadFailure, NotSupported
from danqing.core.images import StagedImage
from danqing.core.resolve import resolve
from danqing.core.types import Mode, RequestDraft
from danqing.engine.catalogue import Catalogue
from danqing.engine.families.flux.capabilities import DEV, describe_folder
from tests.unit.engine.families.flux.tiny_flux import MULTIPLE_OF

IMAGE = StagedImage(path=Path("/staged"), sha256="0" * 64, width=64, height=64)


def test_a_folder_is_found_to_be_flux(flux_folder: Path) -> None:
    card = Catalogue(str(flux_folder)).default()
    assert (card.id, card.family, card.title) == ("tiny", "flux", "tiny")
    assert card.capabilities.size_rules == FreeSizes(multiple_of=MULTIPLE_OF, min_side=64, max_pixels=2048 * 1024)
    assert card.capabilities.modes == {Mode.TEXT2IMG, Mode.IMG2IMG, Mode.FILL, Mode.EDIT}
    assert (card.defaults.num_inference_steps, card.defaults.guidance_scale) == (28, 3.5)


def with_config(folder: Path, copy: Path, config: object) -> ModelCard:
    shutil.copytree(folder, copy)
    (copy / "transformer" / "config.json").write_text(json.dumps(config))
    return describe_folder(copy, "copy")


def test_a_model_without_embedded_guidance_has_none(flux_folder: Path, tmp_path: Path) -> None:
    card = with_config(flux_folder, tmp_path / "fast", {"guidance_embeds": False})
    assert resolve(RequestDraft(prompt="a cup"), card).num_inference_steps == 4
    with pytest.raises(NotSupported, match="guidance_scale"):
        resolve(RequestDraft(prompt="a cup", guidance_scale=3.5), card)


def test_a_wrong_description_is_refused(flux_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailure, match=r"transformer/config\.json"):
        with_config(flux_folder, tmp_path / "wrong", {"guidance_embeds": "often"})
    (tmp_path / "wrong" / "transformer" / "config.json").unlink()
    with pytest.raises(ModelLoadFailure, match=r"transformer/config\.json"):
        describe_folder(tmp_path / "wrong", "wrong")


def test_danqing_json_adds_what_the_ordinary_files_do_not_say(
    flux_folder: Path, controlnet_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(flux_folder, folder)
    own = {"title": "Mine", "trained_sizes": [[64, 64]], "controlnet": str(controlnet_folder)}
    (folder / "danqing.json").write_text(json.dumps(own))
    card = describe_folder(folder, "mine")
    assert (card.title, card.capabilities.size_rules) == ("Mine", TrainedSizes(sizes=((64, 64),)))
    assert Mode.CONTROLNET in card.capabilities.modes
    companion = card.companion(Mode.CONTROLNET)
    assert companion is not None
    assert companion.source == str(controlnet_folder)


@pytest.mark.parametrize("name", ["flux1-dev", "black-forest-labs/FLUX.1-dev"])
def test_the_known_model_is_found(name: str) -> None:
    assert Catalogue(name).default() == DEV


@pytest.mark.parametrize(
    "changes, parameter",
    [
        ({"negative_prompt": "ugly"}, "negative_prompt"),
        ({"cfg_normalization": 0.5}, "cfg_normalization"),
        ({"cfg_truncation": 0.5}, "cfg_truncation"),
    ],
    ids=str,
)
def test_what_flux_cannot_honour_is_refused_by_name(changes: dict[str, Any], parameter: str) -> None:
    with pytest.raises(NotSupported, match=parameter) as refused:
        resolve(RequestDraft(prompt="a cup", **changes), DEV)
    assert refused.value.parameter == parameter


def test_fillings_have_a_guidance_of_their_own_unless_one_is_said() -> None:
    def guidance(mode: Mode, **changes: Any) -> float:  # noqa: ANN401
        return resolve(RequestDraft(prompt="a cup", mode=mode, **changes), DEV).guidance_scale

    filling = {"input_images": (IMAGE,), "mask": IMAGE}
    assert guidance(Mode.TEXT2IMG) == 3.5
    assert guidance(Mode.IMG2IMG, input_images=(IMAGE,)) == 3.5
    assert guidance(Mode.CONTROLNET, input_images=(IMAGE,), control_image=IMAGE) == 3.5
    assert guidance(Mode.FILL, **filling) == guidance(Mode.EDIT, **filling) == 30
    assert guidance(Mode.FILL, guidance_scale=5.0, **filling) == 5
