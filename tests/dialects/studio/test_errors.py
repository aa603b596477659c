"""Every core error has an answer, and none lets an inner message out."""

import json

import pytest
from starlette.exceptions import HTTPException

from danqing.core.errors import DanqingError
from danqing.dialects.studio.errors import render_error


def subclasses(kind: type[DanqingError]) -> list[type[DanqingError]]:
    return [kind, *(deeper for one in kind.__subclasses__() for deeper in subclasses(one))]


@pytest.mark.parametrize("kind", subclasses(DanqingError))
def test_every_core_error_says_its_code_and_words(kind: type[DanqingError]) -> None:
    error = kind()
    answer = render_error(error)

    assert 400 <= answer.status_code < 600
    told = json.loads(bytes(answer.body))["error"]
    assert (told["code"], told["message"]) == (kind.code, error.public_message)


@pytest.mark.parametrize("error", [ZeroDivisionError("secret"), HTTPException(418, "secret")])
def test_no_inner_message_gets_out(error: Exception) -> None:
    assert b"secret" not in bytes(render_error(error).body)
