"""Families are found by id and pipeline class, and no two are the same."""

import dataclasses

import pytest

from danqing.core.errors import ModelLoadFailure
from danqing.engine.families.flux.capabilities import FLUX
from danqing.engine.families.registry import ALL, FamilyRegistry
from danqing.engine.families.z_image.capabilities import Z_IMAGE
from danqing.engine.families.z_image.model import z_image_adapter


def test_code_is_found_by_the_familys_id() -> None:
    assert FamilyRegistry().adapter_factory("z_image") is z_image_adapter
    with pytest.raises(ModelLoadFailure, match="no_such"):
        FamilyRegistry().adapter_factory("no_such")


def test_a_family_is_found_by_its_pipeline_class() -> None:
    assert FamilyRegistry().of_pipeline("ZImagePipeline") is Z_IMAGE
    assert FamilyRegistry().of_pipeline("FluxPipeline") is FLUX
    assert FamilyRegistry().of_pipeline("OtherPipeline") is None


@pytest.mark.parametrize(
    "changes, twice",
    [
        ({"pipeline_classes": ("Other",), "known_models": ()}, "z_image"),
        ({"id": "other", "known_models": ()}, "ZImagePipeline"),
        ({"id": "other", "pipeline_classes": ("Other",)}, "sample"),
    ],
)
def test_nothing_is_registered_twice(changes: dict[str, object], twice: str) -> None:
    with pytest.raises(ValueError, match=twice):
        FamilyRegistry((Z_IMAGE, dataclasses.replace(Z_IMAGE, **changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize("family", ALL, ids=lambda family: family.id)
def test_every_registered_family_can_be_imported(family: object) -> None:
    assert callable(FamilyRegistry().adapter_factory(family.id))  # type: ignore[attr-defined]
