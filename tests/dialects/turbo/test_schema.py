"""The dialect keeps to its own OpenAPI document, whatever is sent."""

from collections.abc import Iterator

import pytest
from schemathesis import BaseSchema, GenerationMode

from danqing.dialects.turbo.dialect import turbo
from tests.dialects.declared import check_answers, document_of
from tests.dialects.house import House, served

POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("outputs")
    with served(lambda: House(root), [turbo()]) as address:
        yield address


@pytest.fixture(scope="module")
def document(url: str) -> BaseSchema:
    return document_of(url)


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        ("POST", "/api/generate", POSITIVE),
        ("POST", "/api/generate", NEGATIVE),
        ("GET", "/api/task/{task_id}", POSITIVE),
        ("GET", "/api/result/{task_id}", POSITIVE),
        ("GET", "/api/status", POSITIVE),  # there is nothing that could be wrong with these two
        ("GET", "/health", POSITIVE),
    ],
)
def test_every_answer_is_declared(document: BaseSchema, url: str, method: str, path: str, mode: GenerationMode) -> None:
    check_answers(document, url, method, path, mode)
