"""Base64 of pictures: what is taken, what is refused, and that nothing is decoded which is too large."""

import base64
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danqing.core.errors import InvalidImage
from danqing.http.base64_images import Base64Decoding

LIMIT = 3000


def decoded(text: str, *, piece: int = 1000) -> bytes:
    content = bytearray()
    decoding = Base64Decoding(content.extend, max_bytes=LIMIT, parameter="input_image")
    for at in range(0, len(text), piece):
        decoding.feed(text[at : at + piece])
    decoding.finish()
    return bytes(content)


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


@given(st.binary(min_size=1, max_size=400), st.integers(1, 50))
def test_what_was_encoded_comes_back_whatever_the_pieces(content: bytes, piece: int) -> None:
    assert decoded(encoded(content), piece=piece) == content
    assert decoded(encoded(content).rstrip("="), piece=piece) == content
    assert decoded("\r\n".join(textwrap.wrap(encoded(content), 7)) + "\n", piece=piece) == content
    assert decoded("data:image/png;base64," + encoded(content), piece=piece) == content


@pytest.mark.parametrize("header", ["data:image/png;base64,", "DATA:image/jpeg;charset=utf-8;BASE64,", "data:;base64,"])
@pytest.mark.parametrize("before", ["", "\n ", " " * 400])
@pytest.mark.parametrize("piece", [1, 1000])
def test_data_urls(before: str, header: str, piece: int) -> None:
    assert decoded(before + header + encoded(b"picture"), piece=piece) == b"picture"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("data:image/png;base64,", "is empty"),
        ("A", "is not valid base64"),
        ("AAAAA", "is not valid base64"),
        ("AAA*", "is not valid base64"),
        ("AA-_", "is not valid base64"),
        ("AAA\u00e9", "is not valid base64"),
        ("AAA\ud800", "is not valid base64"),
        ("AAAÂ", "is not valid base64"),
        ("AA==AAAA", "is not valid base64"),
        ("AAAA====", "is not valid base64"),
        ("=AAA", "is not valid base64"),
        ("data:image/png,AAAA", "is a data URL that is not base64"),
        ("data:" + "x" * 500 + ";base64,AAAA", "is a data URL that is not base64"),
        ("http://picture.example/a.png", "is not valid base64"),
    ],
)
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_anything_else_is_refused(text: str, reason: str, piece: int) -> None:
    with pytest.raises(InvalidImage) as caught:
        decoded(text, piece=piece)

    assert caught.value.public_message == f"input_image {reason}."
    assert caught.value.parameter == "input_image"


@pytest.mark.parametrize("piece", [1, 3, 4, 5, 7])
@pytest.mark.parametrize("text", ["AA==AAAA", "AAAA====", "AAA=A", "=AAA", "A===", "AAAA="])
def test_padding_in_the_middle_is_refused_whatever_the_pieces(text: str, piece: int) -> None:
    with pytest.raises(InvalidImage):
        decoded("AAAA" * 70 + text, piece=piece)


def test_the_limit_is_exact_and_nothing_is_written_beyond_it() -> None:
    assert len(decoded(encoded(bytes(LIMIT)))) == LIMIT
    assert len(decoded("\r\n".join(textwrap.wrap(encoded(bytes(LIMIT)), 76)))) == LIMIT
    with pytest.raises(InvalidImage, match="larger than"):
        decoded(encoded(bytes(LIMIT + 1)))

    # Given a text of blanks, or one that never ends
    content = bytearray()
    for text in (" " * 100, "AAAA" * 25):
        decoding = Base64Decoding(content.extend, max_bytes=LIMIT, parameter="input_image")

        # Then it is refused soon after the limit
        with pytest.raises(InvalidImage, match="larger than"):
            for _ in range(LIMIT * 4 // 3 // 100 + 5):
                decoding.feed(text)
    assert len(content) <= LIMIT
