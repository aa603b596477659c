"""The dialect keeps to its own OpenAPI document, whatever is sent."""

from collections.abc import Iterator

import pytest
import schemathesis
from schemathesis import GenerationMode

from danqing.dialects.studio.dialect import studio
from tests.dialects.declared import check_answers, document_of
from tests.dialects.house import House, served
from tests.dialects.studio.asking import all_modes

BOTH = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
ASKED = {
    ("GET", "/studio/models"): BOTH[:1],  # of some, there is nothing that could be wrong but an id that nobody has
    ("GET", "/studio/machine"): BOTH,
    ("POST", "/studio/batches"): BOTH,
    ("GET", "/studio/batches"): BOTH,
    ("GET", "/studio/jobs/{job_id}"): BOTH[:1],
    ("POST", "/studio/jobs/{job_id}/cancel"): BOTH[:1],
    ("DELETE", "/studio/jobs/{job_id}"): BOTH[:1],
    ("GET", "/studio/pictures/{job_id}/{name}"): BOTH[:1],
    ("GET", "/studio/events"): BOTH,
    ("GET", "/studio/keys"): BOTH[:1],
    ("POST", "/studio/keys"): BOTH,
    ("DELETE", "/studio/keys/{key_id}"): BOTH[:1],
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("outputs")
    with served(lambda: House(root, automatic=True, card=all_modes(), max_queue_size=1000), [studio()]) as address:
        yield address


@pytest.fixture(scope="module")
def schema(url: str) -> schemathesis.BaseSchema:
    return document_of(url)


@pytest.mark.parametrize(
    ("method", "path", "mode"), [(*operation, mode) for operation, modes in ASKED.items() for mode in modes]
)
def test_every_answer_is_declared(
    schema: schemathesis.BaseSchema, url: str, method: str, path: str, mode: GenerationMode
) -> None:
    check_answers(schema, url, method, path, mode, requests=15)


def test_every_path_is_asked(schema: schemathesis.BaseSchema) -> None:
    described = {
        (method.upper(), path)
        for path, operations in schema.raw_schema["paths"].items()
        for method in operations
        if path.startswith("/studio")
    }
    assert described == set(ASKED)


def test_where_a_batch_is_found_is_described(schema: schemathesis.BaseSchema) -> None:
    taken = schema.raw_schema["paths"]["/studio/batches"]["post"]["responses"]["202"]
    assert "Location" in taken["headers"]
    assert taken["content"]["application/json"]["schema"]["$ref"].endswith("/BatchView")
