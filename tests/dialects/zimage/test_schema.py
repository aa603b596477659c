"""The OpenAPI document keeps its word: whatever is asked, the answer is a declared one."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import APIOperation, BaseSchema, Case, GenerationMode

from danqing.core.capabilities import Range
from danqing.core.types import Mode
from danqing.dialects.zimage.dialect import zimage
from danqing.http.submit_keys import HEADER
from tests.dialects.house import House, served
from tests.fakes.domain import a_card

QUICK = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    phases=[Phase.explicit, Phase.generate],
)
PATHS = [  # of these, some have nothing that could be wrong but an id that nobody has
    (GenerationMode.POSITIVE, "POST", "/v1/images/generate"),
    (GenerationMode.NEGATIVE, "POST", "/v1/images/generate"),
    (GenerationMode.POSITIVE, "GET", "/v1/tasks/{task_id}"),
    (GenerationMode.POSITIVE, "POST", "/v1/tasks/{task_id}/cancel"),
    (GenerationMode.POSITIVE, "GET", "/generated-images/{relative_path}"),
    (GenerationMode.POSITIVE, "GET", "/v1/history"),
    (GenerationMode.NEGATIVE, "GET", "/v1/history"),
    (GenerationMode.POSITIVE, "GET", "/v1/history/{batch_id}"),
    (GenerationMode.POSITIVE, "DELETE", "/v1/history/{batch_id}"),
    (GenerationMode.POSITIVE, "GET", "/health"),
]


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    root: Path = tmp_path_factory.mktemp("outputs")
    with served(lambda: House(root, max_queue_size=10_000), [zimage()]) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


def examples(node: object, way: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, object]]:
    """Where, the schema, and the example, of every one in the document."""
    if isinstance(node, dict):
        found = cast("dict[str, Any]", node)
        if "schema" in found and "example" in found:
            yield way, found["schema"], found["example"]
        if "properties" in found:
            yield from ((way, found, example) for example in found.get("examples", []))
        for name, member in found.items():
            yield from examples(member, (*way, name))


def test_the_documents_examples_are_as_it_says(schema: BaseSchema) -> None:
    document = schema.raw_schema

    found = list(examples(document))

    for way, described, example in found:
        problems = jsonschema_rs.Draft202012Validator({**described, "components": document["components"]})
        assert not list(problems.iter_errors(example)), way
    assert {way[1] for way, _, _ in found if way[0] == "paths"} == {
        "/v1/images/generate",
        "/v1/tasks/{task_id}",
        "/v1/tasks/{task_id}/cancel",
        "/v1/history",
        "/v1/history/{batch_id}",
    }
    assert ("components", "schemas", "GenerateImageRequest") in {way for way, _, _ in found}


def test_ranges_are_those_of_the_model_that_makes_the_picture(tmp_path: Path) -> None:
    # Given a default model that only edits
    maker = a_card()
    can = replace(maker.capabilities, modes=frozenset({Mode.EDIT}), steps=Range(minimum=40, maximum=50))
    house = House(tmp_path, card=replace(maker, id="editor", capabilities=can), others=[maker])

    operation = house.app(zimage()).openapi()["paths"]["/v1/images/generate"]["post"]

    described = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
    steps = maker.capabilities.steps
    assert described["num_inference_steps"] == {"minimum": steps.minimum, "maximum": steps.maximum}


@pytest.mark.parametrize(("mode", "method", "path"), PATHS)
def test_every_answer_is_declared(schema: BaseSchema, mode: GenerationMode, method: str, path: str) -> None:
    operation: APIOperation = schema[path][method]

    # When it is asked with what the document allows, or with what it does not, then all of schemathesis' checks hold
    @QUICK
    @given(case=operation.as_strategy(generation_mode=mode))
    def asked(case: Case) -> None:
        if mode is GenerationMode.POSITIVE and case.headers and HEADER in case.headers:
            case.headers[HEADER] = uuid.uuid4().hex  # one that was used for another request is refused
        case.call_and_validate()

    asked()
