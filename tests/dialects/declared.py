"""Whether a dialect keeps to its own OpenAPI document, whatever is sent: requests by schemathesis."""

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import BaseSchema, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def document_of(url: str) -> BaseSchema:
    """The OpenAPI document of the server there."""
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


def check_answers(
    document: BaseSchema, url: str, method: str, path: str, mode: GenerationMode, *, requests: int = 15
) -> None:
    """Sends so many requests that the document allows, or forbids; each must get an answer that it declares."""
    strategy = document[path][method].as_strategy(generation_mode=mode)

    @settings(max_examples=requests, phases=[Phase.explicit, Phase.generate], suppress_health_check=SLOW)
    @given(strategy)
    def check(case: Case) -> None:
        case.call_and_validate(base_url=url, checks=CHECKS, timeout=60)

    check()
