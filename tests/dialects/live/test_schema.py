"""The dialect keeps to its own OpenAPI document, whatever is sent."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import APIOperation, BaseSchema, Case, GenerationMode

from danqing.dialects.live.dialect import live
from tests.dialects.house import served
from tests.dialects.live.running import a_house

QUICK = settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    phases=[Phase.explicit, Phase.generate],
)


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    root: Path = tmp_path_factory.mktemp("outputs")
    with served(lambda: a_house(root), [live()]) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.parametrize("path", ["/api/health", "/api/image/{filename}", "/api/ws"])
def test_every_answer_is_declared(schema: BaseSchema, path: str) -> None:
    operation: APIOperation = schema[path]["GET"]

    @QUICK
    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def asked(case: Case) -> None:
        case.call_and_validate()

    asked()
