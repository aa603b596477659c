"""Base64 of pictures: what is taken, what is refused, and that nothing is decoded which is too large."""

import base64
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danqing.core.errors import InvalidImage
from danqing.http import base64_images
from danqing.http.base64_images import decode_base64_image

LIMIT = 3000


async def decoded(text: str) -> bytes:
    return await decode_base64_image(text, max_bytes=LIMIT, parameter="input_image")


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


@given(st.binary(min_size=1, max_size=200), st.integers(1, 50))
async def test_what_was_encoded_comes_back_whatever_the_pieces(content: bytes, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base64_images, "_PIECE_CHARS", piece)

        assert await decoded(encoded(content)) == content
        assert await decoded(encoded(content).rstrip("=")) == content
        assert await decoded("\r\n".join(textwrap.wrap(encoded(content), 7)) + "\n") == content


@pytest.mark.parametrize("header", ["data:image/png;base64,", "DATA:image/jpeg;charset=utf-8;BASE64,", "data:;base64,"])
async def test_data_urls(header: str) -> None:
    assert await decoded(header + encoded(b"picture")) == b"picture"


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
        ("AAAÂ", "is not valid base64"),
        ("AA==AAAA", "is not valid base64"),
        ("AAAA====", "is not valid base64"),
        ("=AAA", "is not valid base64"),
        ("data:image/png,AAAA", "is a data URL that is not base64"),
        ("data:" + "x" * 500 + ";base64,AAAA", "is a data URL that is not base64"),
        ("http://picture.example/a.png", "is not valid base64"),
    ],
)
async def test_anything_else_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidImage) as caught:
        await decoded(text)

    assert caught.value.public_message == f"input_image {reason}."
    assert caught.value.parameter == "input_image"


@pytest.mark.parametrize("piece", [1, 3, 4, 5, 7])
@pytest.mark.parametrize("text", ["AA==AAAA", "AAAA====", "AAA=A", "=AAA", "A===", "AAAA="])
async def test_padding_in_the_middle_is_refused_whatever_the_pieces(
    text: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base64_images, "_PIECE_CHARS", piece)

    with pytest.raises(InvalidImage):
        await decoded(text)


async def test_the_limit_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(await decoded(encoded(bytes(LIMIT)))) == LIMIT
    assert len(await decoded("\r\n".join(textwrap.wrap(encoded(bytes(LIMIT)), 76)))) == LIMIT
    with pytest.raises(InvalidImage, match="larger than"):
        await decoded(encoded(bytes(LIMIT + 1)))

    # And what is far too large is not even looked at
    def never(*_: object, **__: object) -> bytes:
        raise AssertionError

    monkeypatch.setattr("binascii.a2b_base64", never)
    with pytest.raises(InvalidImage, match="larger than"):
        await decoded(encoded(bytes(2 * LIMIT)))
