"""The OpenAPI document keeps its word: whatever is asked, the answer is a declared one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import APIOperation, BaseSchema, Case, GenerationMode

from danqing.dialects.zimage.dialect import zimage
from tests.dialects.house import House, served

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


@pytest.mark.parametrize(("mode", "method", "path"), PATHS)
def test_every_answer_is_declared(schema: BaseSchema, mode: GenerationMode, method: str, path: str) -> None:
    operation: APIOperation = schema[path][method]

    # When it is asked with what the document allows, or with what it does not, then all of schemathesis' checks hold
    @QUICK
    @given(case=operation.as_strategy(generation_mode=mode))
    def asked(case: Case) -> None:
        case.call_and_validate()

    asked()
