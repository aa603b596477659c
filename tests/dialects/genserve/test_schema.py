"""The dialect keeps to its own OpenAPI document, whatever is sent."""

from collections.abc import Iterator

import pytest
import schemathesis
from schemathesis import GenerationMode

from danqing.dialects.genserve.dialect import genserve
from tests.dialects.declared import check_answers, document_of
from tests.dialects.genserve.parts import a_house
from tests.dialects.house import served


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("outputs")
    with served(lambda: a_house(root), [genserve()]) as address:
        yield address


@pytest.fixture(scope="module")
def schema(url: str) -> schemathesis.BaseSchema:
    return document_of(url)


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
    check_answers(schema, url, method, path, mode, requests=20)
