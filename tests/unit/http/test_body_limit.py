"""Bodies above the limit are refused, as early as possible."""

import pytest
from starlette.types import Receive, Scope, Send

from danqing.http.body_limit import BodyLimit
from danqing.http.errors import BodyTooLarge
from tests.unit.http.asgi import a_scope, call


class Reader:
    """Reads the whole body."""

    def __init__(self) -> None:
        self.read = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            self.read += message["body"]
            more = message["more_body"]


def limited(reader: Reader, limit: int = 10) -> BodyLimit:
    return BodyLimit(reader, limit_for=lambda path: limit)


async def test_a_body_at_the_limit_passes_whole() -> None:
    reader = Reader()

    await call(limited(reader), a_scope("POST", content_length="10"), [b"01234", b"56789"])

    assert reader.read == b"0123456789"


async def test_a_declared_length_is_refused_before_reading() -> None:
    reader = Reader()

    with pytest.raises(BodyTooLarge) as caught:
        await call(limited(reader), a_scope("POST", content_length="11"), [b"0"])

    assert caught.value.max_bytes == 10
    assert reader.read == b""


@pytest.mark.parametrize("headers", [{}, {"content_length": "5"}, {"content_length": "-1"}, {"content_length": "x"}])
async def test_an_undeclared_or_wrong_length_is_refused_while_reading(headers: dict[str, str]) -> None:
    reader = Reader()

    with pytest.raises(BodyTooLarge):
        await call(limited(reader), a_scope("POST", **headers), [b"01234", b"56789", b"0", b"never read"])

    assert reader.read == b"0123456789"


async def test_what_is_not_http_passes() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    await call(BodyLimit(app, limit_for=lambda path: 0), {"type": "lifespan"})

    assert seen == ["lifespan"]
