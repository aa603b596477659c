"""The dialect keeps to its own OpenAPI document, whatever is sent."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from schemathesis import GenerationMode

from danqing.dialects.openai.dialect import openai
from tests.dialects.declared import CHECKS, check_answers, document_of
from tests.dialects.house import served
from tests.dialects.openai.parts import editing_house, mask, png
from tests.dialects.openai.seed_document import CURL, example

POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("outputs")
    with served(lambda: editing_house(root), [openai()]) as address:
        yield address


@pytest.fixture(scope="module")
def schema(url: str) -> schemathesis.BaseSchema:
    return document_of(url)


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        ("POST", "/v1/images/generations", POSITIVE),
        ("POST", "/v1/images/generations", NEGATIVE),
        ("POST", "/v1/images/edits", POSITIVE),
        ("POST", "/v1/images/edits", NEGATIVE),
        ("POST", "/v1/images/variations", POSITIVE),
        ("POST", "/v1/images/variations", NEGATIVE),
        ("GET", "/v1/models", POSITIVE),
        ("GET", "/v1/models/{model}", POSITIVE),
        ("GET", "/v1/files/images/{name}", POSITIVE),
        ("GET", "/ready", POSITIVE),
    ],
)
def test_every_answer_is_declared(
    schema: schemathesis.BaseSchema, url: str, method: str, path: str, mode: GenerationMode
) -> None:
    check_answers(schema, url, method, path, mode)


@pytest.mark.parametrize(
    ("method", "path", "media_type", "body"),
    [
        ("POST", "/v1/images/generations", "application/json", {"prompt": "p", "n": 2, "output_format": "webp"}),
        ("POST", "/v1/images/generations", "application/json", {"prompt": "p", "response_format": "url"}),
        ("POST", "/v1/images/generations", "application/json", {"prompt": "p", "stream": True}),
        ("POST", "/v1/images/edits", "multipart/form-data", {"prompt": "p", "images": [png(), png()]}),
        ("POST", "/v1/images/edits", "multipart/form-data", {"prompt": "p", "image": png(), "mask": mask()}),
        ("POST", "/v1/images/variations", "multipart/form-data", {"image": png()}),
    ],
)
def test_good_answers_are_declared(
    schema: schemathesis.BaseSchema, url: str, method: str, path: str, media_type: str, body: dict[str, Any]
) -> None:
    case = schema[path][method].Case(body=body, media_type=media_type)

    assert case.call_and_validate(base_url=url, checks=CHECKS, timeout=60).status_code == 200


def shown(described: dict[str, Any]) -> list[Any]:
    """The examples of a media type."""
    return [one["value"] for one in described.get("examples", {}).values()] or [described["example"]]


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/images/edits", "/v1/images/variations"])
def test_bodies_and_answers_have_examples_that_are_as_described(schema: schemathesis.BaseSchema, path: str) -> None:
    document = schema.raw_schema
    operation = document["paths"][path]["post"]

    for part in (operation["requestBody"], *operation["responses"].values()):
        for media_type, described in part["content"].items():
            whole = {**described["schema"], "components": document["components"]}
            check = jsonschema_rs.Draft202012Validator(whole)
            assert shown(described)
            for value in shown(described):
                assert not list(check.iter_errors(value)), (media_type, value)


def test_an_edit_needs_a_picture_under_one_of_its_names(schema: schemathesis.BaseSchema) -> None:
    body = schema.raw_schema["paths"]["/v1/images/edits"]["post"]["requestBody"]["content"]["multipart/form-data"]
    check = jsonschema_rs.Draft202012Validator(body["schema"])

    assert not check.is_valid({"prompt": "p", "mask": "m"})
    for name, pictures in [("image", "a"), ("images", ["a"]), ("image[]", ["a", "b"])]:
        assert check.is_valid({"prompt": "p", name: pictures})


def test_the_examples_are_the_vendors(schema: schemathesis.BaseSchema) -> None:
    edits = schema.raw_schema["paths"]["/v1/images/edits"]["post"]
    bodies = shown(edits["requestBody"]["content"]["multipart/form-data"])

    def answers(status: int) -> list[Any]:
        return shown(edits["responses"][str(status)]["content"]["application/json"])

    # Then the requests are those of its commands
    for body, command in zip(bodies, (CURL[1], CURL[2]), strict=False):
        told = [f"prompt={body['prompt']}", *(f"images=@{file}" for file in body["images"]), f"n={body['n']}"]
        assert [f'-F "{field}"' in command for field in told] == [True] * len(told)

    # And the answers those that it shows
    documented = example('  -H "Authorization: Basic')
    assert answers(200)[0]["data"] == documented["data"]
    assert set(documented["usage"]) <= set(answers(200)[0]["usage"])
    assert answers(401)[0] == example("401 - 未授权:")
    assert answers(400)[0] == example("400 - 无效输入:")
    assert answers(500)[0]["error"] == example("500 - 服务器错误:")["error"]
    assert answers(503)[0] == example("**错误响应** (503):")


def test_the_document_has_every_parameter_and_file(schema: schemathesis.BaseSchema) -> None:
    def properties(path: str, media_type: str) -> dict[str, Any]:
        return schema.raw_schema["paths"][path]["post"]["requestBody"]["content"][media_type]["schema"]["properties"]

    assert {"prompt", "seed", "partial_images"} <= set(properties("/v1/images/generations", "application/json"))
    assert {"images", "image", "image[]", "mask"} <= set(properties("/v1/images/edits", "multipart/form-data"))
    assert {"image", "strength"} <= set(properties("/v1/images/variations", "multipart/form-data"))
