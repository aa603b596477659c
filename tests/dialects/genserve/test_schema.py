"""The dialect keeps to its own OpenAPI document, whatever is sent."""

from collections.abc import Iterator

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

from danqing.dialects.genserve.dialect import genserve
from tests.dialects.genserve.parts import a_house
from tests.dialects.house import served

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("outputs")
    with served(lambda: a_house(root), [genserve()]) as address:
        yield address


@pytest.fixture(scope="module")
def schema(url: str) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        ("POST", "/generate", GenerationMode.POSITIVE),
        ("POST", "/generate", GenerationMode.NEGATIVE),
        ("POST", "/generate/img2img", GenerationMode.POSITIVE),
        ("POST", "/generate/img2img", GenerationMode.NEGATIVE),
        ("GET", "/status", GenerationMode.POSITIVE),  # there is nothing that could be wrong with these two
        ("GET", "/models", GenerationMode.POSITIVE),
    ],
)
def test_every_answer_is_declared(
    schema: schemathesis.BaseSchema, url: str, method: str, path: str, mode: GenerationMode
) -> None:
    # Given requests that the document allows, or forbids
    strategy = schema[path][method].as_strategy(generation_mode=mode)

    # Then each gets an answer that the document declares
    @settings(max_examples=20, phases=[Phase.explicit, Phase.generate], suppress_health_check=SLOW)
    @given(strategy)
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(base_url=url, checks=CHECKS, timeout=60)

    check()
