"""Every parameter of the official SDK has a fate here, and every value that it knows is understood."""

from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from openai.types import image_create_variation_params, image_edit_params, image_generate_params
from pydantic import BaseModel

from danqing.core.errors import NotSupported
from danqing.dialects.openai.parameters import (
    EDITS,
    GENERATIONS,
    VARIATIONS,
    Fate,
    check_parameters,
    given_parameters,
)
from danqing.dialects.openai.schemas import EditParameters, GenerationParameters, VariationParameters

EXTENSIONS = {"seed", "num_inference_steps", "guidance_scale", "negative_prompt", "step_cache"}
FILES = {"image", "images", "mask", "markup"}
ENDPOINTS = [
    pytest.param(
        image_generate_params.ImageGenerateParamsNonStreaming, GENERATIONS, GenerationParameters, id="generations"
    ),
    pytest.param(image_edit_params.ImageEditParamsNonStreaming, EDITS, EditParameters, id="edits"),
    pytest.param(image_create_variation_params.ImageCreateVariationParams, VARIATIONS, VariationParameters, id="vary"),
]


def sdk_parameters(params: type) -> dict[str, object]:
    """Name to annotation."""
    return get_type_hints(params)


def literals(annotation: object) -> set[object]:
    """Every literal value in it, however deep."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return set().union(*(literals(part) for part in get_args(annotation)))


@pytest.mark.parametrize(("params", "table", "wire"), ENDPOINTS)
def test_every_parameter_of_the_sdk_is_decided(params: type, table: dict[str, Any], wire: type[BaseModel]) -> None:
    assert set(sdk_parameters(params)) - set(table) == set()


@pytest.mark.parametrize(("params", "table", "wire"), ENDPOINTS)
def test_the_table_says_nothing_of_parameters_that_there_are_not(
    params: type, table: dict[str, Any], wire: type[BaseModel]
) -> None:
    known = set(sdk_parameters(params)) | EXTENSIONS | {"images", "strength", "loras"}

    assert set(table) <= known
    assert set(table) - FILES == set(wire.model_fields)


@pytest.mark.parametrize(("params", "table", "wire"), ENDPOINTS)
def test_every_value_that_the_sdk_knows_is_understood(
    params: type, table: dict[str, Any], wire: type[BaseModel]
) -> None:
    for name, annotation in sdk_parameters(params).items():
        if name in wire.model_fields and name not in ("model", "size", "svg", "stream"):
            for value in literals(annotation):
                assert getattr(wire.model_validate({name: value}), name) == value


@pytest.mark.parametrize("table", [GENERATIONS, EDITS, VARIATIONS])
def test_what_is_not_honoured_has_a_reason(table: dict[str, Any]) -> None:
    for name, decision in table.items():
        assert (decision.fate is Fate.HONOURED) == (decision.reason == ""), name


def test_fates() -> None:
    # Given one parameter of each fate, and values that ask for nothing special
    honoured = {"prompt": "p", "n": 2, "size": "auto", "quality": "auto", "background": "opaque", "moderation": "auto"}

    assert check_parameters(honoured, GENERATIONS) == []
    assert check_parameters({"quality": "low", "style": "vivid"}, GENERATIONS) == [
        "quality ignored: the model has one quality; see num_inference_steps",
        "style ignored: say in the prompt how the picture is to look",
    ]
    for name, value in {"background": "transparent", "output_format": "gif", "svg": {}, "frame_count": 4}.items():
        with pytest.raises(NotSupported) as refused:
            check_parameters({name: value}, GENERATIONS)
        assert refused.value.parameter == name


def test_a_member_of_a_refused_object_is_refused_in_a_form() -> None:
    with pytest.raises(NotSupported):
        check_parameters({"svg[model]": "x"}, EDITS)


@pytest.mark.parametrize("member", ["日", "\r\nX-Evil: 1", "x" * 200_000])
def test_of_a_member_whose_name_cannot_be_told_the_field_is(member: str) -> None:
    given = {f"user[{member}]": "a", f"user[{member}2]": "b", "style[a]": "c"}
    with pytest.raises(NotSupported) as refused:
        check_parameters({f"svg[{member}]": "x"}, EDITS)

    assert check_parameters(given, GENERATIONS)[0].startswith("user ignored: ")
    assert [warning.partition(" ")[0] for warning in check_parameters(given, GENERATIONS)] == ["user", "style[a]"]
    assert refused.value.parameter == "svg"


def test_unknown_names_are_told_only_where_they_are_plain() -> None:
    names = {"sampler": 1, "bad\r\nname": 2, "x" * 65: 3, "日本": 4} | {f"p{i}": i for i in range(20)}

    warnings = check_parameters(names, GENERATIONS)

    assert warnings[0] == "sampler ignored: unknown parameter"
    assert warnings[-1] == "14 more unknown parameters ignored"
    assert len(warnings) == 11
    assert "; ".join(warnings).isascii()


def test_null_is_not_given() -> None:
    wire = GenerationParameters.model_validate({"prompt": "p", "quality": None, "user": None, "unknown": None})

    assert given_parameters(wire) == {"prompt": "p"}
