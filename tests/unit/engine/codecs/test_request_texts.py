"""What a file says about how it was made."""

import dataclasses
import json

from danqing.core.sizes import SizePlan
from danqing.core.types import GenerationRequest, Mode
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
    parameters, _ = request_texts(REQUEST, PLAN, adjustments=(), version="1.2.3")
    assert parameters.keyword == "parameters"
    assert parameters.text == (
        "a cup, blue\n"
        "Steps: 9, Sampler: Euler, CFG scale: 0.0, Seed: 42, Size: 1024x768, Model: sample, Version: danqing 1.2.3"
    )


def test_a_negative_prompt_has_a_line_of_its_own() -> None:
    request = dataclasses.replace(REQUEST, negative_prompt="丑", guidance_scale=3.5)
    parameters, _ = request_texts(request, PLAN, adjustments=(), version="1")
    assert parameters.text.splitlines()[1] == "Negative prompt: 丑"
    assert "CFG scale: 3.5" in parameters.text


def test_our_json_holds_the_whole_request() -> None:
    _, own = request_texts(REQUEST, PLAN, adjustments=("prompt cut to 512 tokens",), version="1")
    assert own.keyword == "danqing" and own.utf8
    content = json.loads(own.text)
    assert content["request"] == dataclasses.asdict(REQUEST)
    assert content["size_plan"] == {
        "native": [144, 112],
        "kept": [144, 108],
        "final": [1024, 768],
        "enlarge": True,
        "crop_only": False,
    }
    assert content["adjustments"] == ["prompt cut to 512 tokens"]
    assert content["version"] == "1"


def test_a_nul_in_the_prompt_does_not_break_the_file() -> None:
    parameters, own = request_texts(dataclasses.replace(REQUEST, prompt="a\0b"), PLAN, adjustments=(), version="1")
    assert parameters.text.startswith("a\ufffdb\n")
    assert "\0" not in own.text
    assert json.loads(own.text)["request"]["prompt"] == "a\0b"
