"""Fingerprints tell requests apart, and nothing else."""

from dataclasses import fields, replace
from typing import Any

import pytest

from danqing.core.fingerprint import fingerprint
from danqing.core.images import ImageRef
from danqing.core.types import ArtifactKind, GenerationRequest, Lora, Mode
from tests.fakes.domain import a_request

IMAGE = ImageRef(name="input-1.png", width=8, height=8)
OTHER_VALUES: dict[str, Any] = {
    "model": "another",
    "prompt": "蓝色背景上的披萨",
    "negative_prompt": "blurry",
    "width": 1023,
    "height": 1023,
    "num_inference_steps": 8,
    "guidance_scale": 0.5,
    "seed": 43,
    "mode": Mode.IMG2IMG,
    "strength": 0.5,
    "input_images": (IMAGE,),
    "mask": IMAGE,
    "control_image": IMAGE,
    "cfg_normalization": 0.0,
    "cfg_truncation": 1.0,
    "max_sequence_length": 512,
    "control_preprocess": "canny",
    "controlnet_conditioning_scale": 0.5,
    "loras": (Lora(name="ink"),),
    "step_cache": 0.1,
    "further": (ArtifactKind.UPSCALED,),
}


def test_it_is_the_sha_256_of_the_canonical_request() -> None:
    # Given the value that earlier versions stored for this request; jobs are joined by it across upgrades
    assert fingerprint(a_request()) == "109d446f5ac3e967bcfabb7b047ebd4327ca6148cd38ceabaad5e4e4232a7d86"


@pytest.mark.parametrize("field", [field.name for field in fields(GenerationRequest)])
def test_every_field_counts(field: str) -> None:
    assert fingerprint(a_request()) != fingerprint(replace(a_request(), **{field: OTHER_VALUES[field]}))


def test_equal_requests_have_equal_fingerprints() -> None:
    assert fingerprint(a_request()) == fingerprint(a_request())


def test_with_a_secret_it_depends_on_secret_and_owner() -> None:
    request = a_request()
    marks = {
        fingerprint(request),
        fingerprint(request, owner="a", secret=b"1"),
        fingerprint(request, owner="b", secret=b"1"),
        fingerprint(request, owner="a", secret=b"2"),
    }
    assert len(marks) == 4
    assert all(len(mark) == 64 for mark in marks)


def test_without_a_secret_the_owner_does_not_matter() -> None:
    assert fingerprint(a_request(), owner="a") == fingerprint(a_request(), owner="b")
