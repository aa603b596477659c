"""Pictures in JSON: every byte, whatever the sizes; in pieces where it is much; broken off where the store fails."""

import base64
import json
import random
from typing import Any

import pytest
from starlette.types import Message

from danqing.core.errors import StorageFailure
from danqing.http.embedded_pictures import AT_ONCE_BYTES, Embedded, Source


class Stored:
    """An open picture that comes in pieces. fails_after: pieces, then it ends though there should be more."""

    version = "1"

    def __init__(self, content: bytes, *, piece: int = 1 << 20, fails_after: int | None = None) -> None:
        self.size_bytes = len(content)
        self.closed = 0
        self._pieces = [content[i : i + piece] for i in range(0, len(content), piece)][:fails_after]

    async def read(self) -> bytes:
        assert not self.closed
        return self._pieces.pop(0) if self._pieces else b""

    def close(self) -> None:
        self.closed = 1  # it may be told again


class Broken(Stored):
    async def read(self) -> bytes:
        raise OSError("the disk is gone")


async def sent(*sources: Source, text: str | None = None) -> list[Message]:
    """What the server is given."""
    embedded = Embedded()
    words = [embedded.add(source) for source in sources]
    response = embedded.response(
        text or json.dumps({"before": "é\n", "data": [{"b64_json": word} for word in words], "after": 1}),
        headers={"X-Other": "kept"},
    )
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        raise AssertionError("nobody is to be heard")

    await response({"type": "http", "method": "POST"}, receive, send)
    return messages


def body_of(messages: list[Message]) -> bytes:
    return b"".join(message["body"] for message in messages[1:])


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


SIZES = [0, 1, 2, 3, 4, 1000, AT_ONCE_BYTES - 1, AT_ONCE_BYTES, AT_ONCE_BYTES + 1, 3 * AT_ONCE_BYTES + 2, 2_500_001]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("piece", [1000, 65_537, 1 << 20])
async def test_each_byte_arrives(size: int, piece: int) -> None:
    # Given a picture that is stored, and one that is in memory
    stored, made = Stored(noise(size), piece=piece), noise(size + 1)
    # When both are in an answer
    messages = await sent(stored, made)
    # Then it is the JSON that it should be, of the length that was told, and ends
    body = body_of(messages)
    answer: dict[str, Any] = json.loads(body)
    assert [base64.b64decode(each["b64_json"], validate=True) for each in answer["data"]] == [noise(size), made]
    assert (answer["before"], answer["after"]) == ("é\n", 1)
    headers = dict(messages[0]["headers"])
    assert headers[b"content-length"] == str(len(body)).encode()
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"x-other"] == b"kept"
    assert [message.get("more_body", False) for message in messages[1:]] == [True] * (len(messages) - 2) + [False]
    assert stored.closed == 1


async def test_a_small_answer_is_one_piece_and_a_large_one_is_many() -> None:
    assert len(await sent(Stored(noise(1000)))) == 2
    pieces = [len(message["body"]) for message in (await sent(Stored(noise(5_000_000))))[1:]]
    assert max(pieces) <= AT_ONCE_BYTES * 4 // 3
    assert len(pieces) > 10


async def test_an_answer_without_pictures_is_as_it_is() -> None:
    assert body_of(await sent(text='{"data": []}')) == b'{"data": []}'


async def test_a_picture_that_ends_too_early_breaks_a_large_answer_off() -> None:
    stored = Stored(noise(3_000_000), fails_after=1)
    messages = await sent(stored, noise(10))
    assert all(message["more_body"] for message in messages[1:])
    assert stored.closed == 1


@pytest.mark.parametrize(("size", "begun"), [(100, False), (3_000_000, True)])
async def test_a_store_that_fails_is_an_error_and_all_are_closed(size: int, begun: bool) -> None:
    first, broken = Stored(noise(size)), Broken(noise(size))
    embedded = Embedded()
    words = [embedded.add(first), embedded.add(broken)]
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        raise AssertionError

    with pytest.raises(OSError, match="gone"):
        await embedded.response(json.dumps(words))({"type": "http"}, receive, send)
    assert bool(messages) is begun
    assert (first.closed, broken.closed) == (1, 1)


async def test_a_picture_that_ends_too_early_is_an_error_where_nothing_is_sent_yet() -> None:
    stored = Stored(noise(3000), piece=1000, fails_after=2)
    with pytest.raises(StorageFailure, match="shorter"):
        await sent(stored)
    assert stored.closed == 1


def test_where_something_goes_wrong_before_the_answer_all_are_closed() -> None:
    stored = Stored(b"abc")
    with pytest.raises(ZeroDivisionError), Embedded() as embedded:
        words = {embedded.add(stored), embedded.add(b"abc"), embedded.add(b"abc")}
        assert len(words) == 3
        _ = 1 / 0
    assert stored.closed == 1
