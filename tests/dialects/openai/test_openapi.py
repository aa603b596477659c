"""The dialect keeps to its own OpenAPI document, whatever is sent."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from danqing.dialects.openai.dialect import openai
from tests.dialects.house import served
from tests.dialects.openai.parts import editing_house, mask, png

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("outputs")
    with served(lambda: editing_house(root), [openai()]) as address:
        yield address


@pytest.fixture(scope="module")
def schema(url: str) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


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
    # Given requests that the document allows, or forbids
    strategy = schema[path][method].as_strategy(generation_mode=mode)

    # Then each gets an answer that the document declares
    @settings(max_examples=15, phases=[Phase.explicit, Phase.generate], suppress_health_check=SLOW)
    @given(strategy)
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(base_url=url, checks=CHECKS, timeout=60)

    check()


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


def test_the_document_has_every_parameter_and_file(schema: schemathesis.BaseSchema) -> None:
    def properties(path: str, media_type: str) -> dict[str, Any]:
        return schema.raw_schema["paths"][path]["post"]["requestBody"]["content"][media_type]["schema"]["properties"]

    assert {"prompt", "seed", "partial_images"} <= set(properties("/v1/images/generations", "application/json"))
    assert {"images", "image", "image[]", "mask"} <= set(properties("/v1/images/edits", "multipart/form-data"))
    assert {"image", "strength"} <= set(properties("/v1/images/variations", "multipart/form-data"))
