"""Bounds in the OpenAPI document are the ones that hold, and examples are whole."""

from typing import Annotated

from pydantic import BaseModel, Field

from danqing.http.openapi import ExactFastAPI, example


class Asked(BaseModel):
    """A body whose fields have bounds, and one that is called like a bound."""

    whole: int = Field(ge=64, le=2048, multiple_of=16)
    half: float = Field(gt=0.5, lt=2)
    large: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    minimum: int = Field(ge=3)


async def ask(body: Asked, page: Annotated[int, Field(ge=1)]) -> None:
    raise AssertionError("never asked")


def test_whole_bounds_are_integers_and_the_rest_is_left_alone() -> None:
    app = ExactFastAPI()
    app.add_api_route("/ask", ask, methods=["POST"])

    schema = app.openapi()

    fields = schema["components"]["schemas"]["Asked"]["properties"]
    (page,) = schema["paths"]["/ask"]["post"]["parameters"]
    assert repr(page["schema"]["minimum"]) == "1"
    assert [repr(fields["whole"][bound]) for bound in ("minimum", "maximum", "multipleOf")] == ["64", "2048", "16"]
    assert [repr(fields["half"][bound]) for bound in ("exclusiveMinimum", "exclusiveMaximum")] == ["0.5", "2"]
    large = fields["large"]["anyOf"][0]
    assert (large["minimum"], large["exclusiveMaximum"]) == (-(2**63), 2**63)
    assert type(large["exclusiveMaximum"]) is int
    assert repr(fields["minimum"]["minimum"]) == "3"


def test_examples_keep_what_is_null() -> None:
    app, shown = ExactFastAPI(), {"a": None, "b": [{"c": None}, None, 1.5], "d": {}}
    content = {"application/json": {"example": example(shown)}}

    app.add_api_route("/ask", ask, methods=["POST"], responses={200: {"content": content}})

    assert app.openapi()["paths"]["/ask"]["post"]["responses"]["200"]["content"]["application/json"]["example"] == shown
