"""What the cards of Qwen-Image models say, and what a checkpoint can say of itself."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from danqing.core.capabilities import FreeSizes, ModelCard, ReferenceScaling, Scaling, TrainedSizes
from danqing.core.errors import InvalidRequest, ModelLoadFailure, NotSupported, ParameterOutOfRange
from danqing.core.images import StagedImage
from danqing.core.resolve import resolve
from danqing.core.types import Mode, RequestDraft
from danqing.engine.families.qwen_image.capabilities import QWEN_IMAGE, SAMPLE_EDIT, describe_folder
from danqing.engine.families.qwen_image.references import scaled_size
from tests.unit.engine.families.qwen_image.making import card_of
from tests.unit.engine.families.qwen_image.tiny_qwen import MULTIPLE_OF

CARDS = {card.id: card for card in QWEN_IMAGE.known_models}
IMAGE = StagedImage(path=Path("staged.png"), width=640, height=480, sha256="a" * 64)
MEGAPIXEL = Scaling(pixels=1024 * 1024, multiple_of=32)


def edit(count: int, **changes: object) -> RequestDraft:
    draft = RequestDraft(prompt="make it blue", mode=Mode.EDIT, input_images=(IMAGE,) * count)
    return replace(draft, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "model_id, steps, most",
    [("qwen-image-edit", 50, 1), ("qwen-image-edit-2509", 40, 3), ("qwen-image-edit-2511", 40, 3)],
)
def test_edits_take_as_many_pictures_as_the_model_knows_of(model_id: str, steps: int, most: int) -> None:
    card = CARDS[model_id]
    request = resolve(edit(most), card)
    assert (request.num_inference_steps, request.guidance_scale, request.strength) == (steps, 4.0, None)
    with pytest.raises(ParameterOutOfRange, match=f"At most {most} input images") as refused:
        resolve(edit(most + 1), card)
    assert refused.value.parameter == "input_image"


@pytest.mark.parametrize(
    "changes, parameter",
    [
        ({"mode": Mode.TEXT2IMG, "input_images": ()}, "mode"),
        ({"mode": Mode.IMG2IMG}, "mode"),
        ({"strength": 0.5}, "strength"),
        ({"cfg_normalization": 1.0}, "cfg_normalization"),
        ({"cfg_truncation": 0.5}, "cfg_truncation"),
        ({"num_inference_steps": 101}, "num_inference_steps"),
        ({"max_sequence_length": 1025}, "max_sequence_length"),
        ({"control_image": IMAGE}, "control_image"),
    ],
)
def test_what_an_edit_cannot_honour_is_refused_by_name(changes: dict[str, object], parameter: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        resolve(edit(1, **changes), CARDS["qwen-image-edit-2511"])
    assert refused.value.parameter == parameter


def test_an_edit_with_a_mask_makes_the_white_part_wholly_anew() -> None:
    assert resolve(edit(1, mask=IMAGE), CARDS["qwen-image-edit"]).strength == 1.0
    assert resolve(edit(1, mask=IMAGE, mode=Mode.FILL), CARDS["qwen-image-edit"]).strength == 1.0


def test_the_base_model_understands_no_instruction() -> None:
    card = CARDS["qwen-image"]
    assert not card.capabilities.instruction_edit
    assert card.capabilities.reference_scaling is None
    request = resolve(RequestDraft(prompt="a cup"), card)
    assert (request.width, request.height, request.num_inference_steps, request.guidance_scale) == (1328, 1328, 50, 4.0)
    with pytest.raises(NotSupported):
        resolve(edit(1, mode=Mode.CONTROLNET, control_image=IMAGE), card)


def test_references_are_looked_at_as_large_as_the_pipelines_have_them() -> None:
    first, later = (CARDS[f"qwen-image-edit{suffix}"].capabilities.reference_scaling for suffix in ("", "-2511"))
    assert first == ReferenceScaling(latents=MEGAPIXEL, prompt=MEGAPIXEL)
    assert later == ReferenceScaling(latents=MEGAPIXEL, prompt=Scaling(pixels=384 * 384, multiple_of=32))


@pytest.mark.parametrize(
    "size, expected",
    [((640, 480), (1184, 896)), ((100, 100), (1024, 1024)), ((4000, 3), (37376, 32)), ((3, 4000), (32, 37376))],
)
def test_sizes_of_references_keep_their_shape(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert scaled_size(size, MEGAPIXEL) == expected


def described(folder: Path, copy: Path, description: object) -> ModelCard:
    shutil.copytree(folder, copy)
    (copy / "danqing.json").write_text(json.dumps(description))
    return card_of(copy)


def test_a_folder_describes_itself(base_folder: Path) -> None:
    card = card_of(base_folder)
    assert (card.id, card.family, card.source) == ("tiny", "qwen_image", str(base_folder.resolve()))
    assert card.capabilities.size_rules == FreeSizes(multiple_of=MULTIPLE_OF, min_side=64, max_pixels=1328 * 1328)
    assert card.defaults == CARDS["qwen-image"].defaults


def test_a_small_model_says_how_large_it_looks_at_pictures(plus_folder: Path, tmp_path: Path) -> None:
    card = described(
        plus_folder,
        tmp_path / "small",
        {
            "title": "Small",
            "trained_sizes": [[128, 128], [144, 112]],
            "reference_pixels": 16384,
            "condition_pixels": 12544,
            "references_framed": True,
            "num_inference_steps": 10,
            "guidance_scale": 1.0,
        },
    )
    scaling = card.capabilities.reference_scaling
    assert scaling is not None
    assert scaling.framed
    assert card.capabilities.size_rules == TrainedSizes(sizes=((128, 128), (144, 112)))
    assert (scaled_size((500, 500), scaling.latents), scaled_size((500, 500), scaling.prompt)) == (
        (128, 128),
        (112, 112),
    )
    assert scaled_size((144, 112), scaling.latents) == (144, 112)
    request = resolve(edit(1), card)
    assert (request.num_inference_steps, request.guidance_scale) == (10, 1.0)


def test_the_bundled_folder_is_the_sample_edit_model() -> None:
    described = describe_folder(Path(SAMPLE_EDIT.source), "sample-edit")
    assert replace(described, licence=SAMPLE_EDIT.licence) == SAMPLE_EDIT


@pytest.mark.parametrize(
    "description",
    [
        {"reference_pixels": 0},
        {"condition_pixels": -1},
        {"reference_pixel": 9},
        {"num_inference_steps": 101},
        {"guidance_scale": -1},
        {"trained_sizes": [[64, 60]]},
    ],
    ids=str,
)
def test_a_wrong_danqing_json_is_refused(plus_folder: Path, tmp_path: Path, description: object) -> None:
    with pytest.raises(ModelLoadFailure, match=r"danqing\.json"):
        described(plus_folder, tmp_path / "wrong", description)


def test_who_does_not_edit_has_no_references(base_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailure, match="for models that edit"):
        described(base_folder, tmp_path / "wrong", {"reference_pixels": 16384})


def test_a_checkpoint_of_another_family_is_refused(base_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(base_folder, tmp_path / "other")
    (tmp_path / "other" / "model_index.json").write_text(json.dumps({"_class_name": "QwenImageLayeredPipeline"}))
    with pytest.raises(ModelLoadFailure, match="QwenImageLayeredPipeline"):
        describe_folder(tmp_path / "other", "other")
