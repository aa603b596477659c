"""What a file says about how it was made."""

import dataclasses
import json

from danqing.core.images import ImageRef
from danqing.core.sizes import SizePlan
from danqing.core.types import ArtifactKind, GenerationRequest, Lora, Mode
from danqing.engine.codecs.request_texts import request_texts

REQUEST = GenerationRequest(
    model="sample",
    mode=Mode.TEXT2IMG,
    prompt="a cup, blue",
    negative_prompt="",
    width=1024,
    height=768,
    num_inference_steps=9,
    guidance_scale=0.0,
    seed=42,
)
PLAN = SizePlan(native=(144, 112), final=(1024, 768), enlarge=True, crop_only=False)


def test_parameters_are_written_as_a1111_writes_them() -> None:
    parameters, _ = request_texts(
        REQUEST, PLAN, ArtifactKind.ORIGINAL, adjustments=(), upscaler="realesr-animevideov3", version="1.2.3"
    )
    assert parameters.keyword == "parameters"
    assert parameters.text == (
        "a cup, blue\n"
        "Steps: 9, Sampler: Euler, CFG scale: 0.0, Seed: 42, Size: 1024x768, Model: sample, Version: danqing 1.2.3"
    )


def test_a_negative_prompt_has_a_line_of_its_own() -> None:
    request = dataclasses.replace(REQUEST, negative_prompt="丑", guidance_scale=3.5)
    parameters, _ = request_texts(
        request, PLAN, ArtifactKind.ORIGINAL, adjustments=(), upscaler="realesr-animevideov3", version="1"
    )
    assert parameters.text.splitlines()[1] == "Negative prompt: 丑"
    assert "CFG scale: 3.5" in parameters.text


def test_loras_follow_the_prompt() -> None:
    request = dataclasses.replace(REQUEST, loras=(Lora(name="ink"), Lora(name="墨", scale=-0.75)))
    parameters, own = request_texts(
        request, PLAN, ArtifactKind.ORIGINAL, adjustments=(), upscaler="realesr-animevideov3", version="1"
    )
    assert parameters.text.splitlines()[0] == "a cup, blue <lora:ink:1> <lora:墨:-0.75>"
    assert json.loads(own.text)["request"]["loras"] == [{"name": "ink", "scale": 1.0}, {"name": "墨", "scale": -0.75}]


def test_a_step_cache_is_said() -> None:
    request = dataclasses.replace(REQUEST, step_cache=0.12)
    parameters, own = request_texts(
        request, PLAN, ArtifactKind.ORIGINAL, adjustments=(), upscaler="realesr-animevideov3", version="1"
    )
    assert "Model: sample, Step cache: 0.12, Version" in parameters.text
    assert json.loads(own.text)["request"]["step_cache"] == 0.12


def test_our_json_holds_the_whole_request() -> None:
    _, own = request_texts(
        REQUEST,
        PLAN,
        ArtifactKind.ORIGINAL,
        adjustments=("prompt cut to 512 tokens",),
        upscaler="realesr-animevideov3",
        version="1",
    )
    assert own.keyword == "danqing" and own.utf8
    content = json.loads(own.text)
    assert content["request"] == json.loads(json.dumps(dataclasses.asdict(REQUEST)))
    assert content["size_plan"] == {
        "native": [144, 112],
        "kept": [144, 108],
        "final": [1024, 768],
        "enlarge": True,
        "crop_only": False,
    }
    assert content["adjustments"] == ["prompt cut to 512 tokens"]
    assert content["version"] == "1"


def test_a_start_from_pictures_is_told() -> None:
    # Given an edit with every new field
    ref = ImageRef(name=f"input-{64 * 'a'}.png", width=300, height=200, has_alpha=True)
    request = dataclasses.replace(
        REQUEST,
        mode=Mode.EDIT,
        strength=0.75,
        input_images=(ref,),
        mask=ref,
        cfg_normalization=1.0,
        cfg_truncation=0.5,
        max_sequence_length=64,
        further=(ArtifactKind.UPSCALED,),
    )
    # When the texts of its upscaled picture are written
    parameters, own = request_texts(
        request, PLAN, ArtifactKind.UPSCALED, adjustments=(), upscaler="realesr-animevideov3", version="1"
    )
    # Then A1111's line has its words for it, and ours has everything
    assert "Model: sample, Denoising strength: 0.75, Mode: edit, " in parameters.text
    assert (
        "Postprocess upscale by: 4, Postprocess upscaler: realesr-animevideov3, Version: danqing 1" in parameters.text
    )
    content = json.loads(own.text)
    assert content["artifact"] == "upscaled"
    image = {"name": ref.name, "width": 300, "height": 200, "has_alpha": True}
    expected = {"mode": "edit", "strength": 0.75, "input_images": [image], "mask": image, "control_image": None}
    expected |= {"cfg_normalization": 1.0, "cfg_truncation": 0.5, "max_sequence_length": 64, "further": ["upscaled"]}
    assert expected.items() <= content["request"].items()


def test_a_nul_in_the_prompt_does_not_break_the_file() -> None:
    parameters, own = request_texts(
        dataclasses.replace(REQUEST, prompt="a\0b"),
        PLAN,
        ArtifactKind.ORIGINAL,
        adjustments=(),
        upscaler="realesr-animevideov3",
        version="1",
    )
    assert parameters.text.startswith("a\ufffdb\n")
    assert "\0" not in own.text
    assert json.loads(own.text)["request"]["prompt"] == "a\0b"
