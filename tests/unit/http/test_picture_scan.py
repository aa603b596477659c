"""Pictures are found in any JSON, whatever the pieces it comes in, and the rest is as it was."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danqing.http.picture_scan import PictureScan

NAMES = ("input_image", "mask_image")


class Sink:
    def __init__(self) -> None:
        self.text = ""
        self.finished = False

    def feed(self, text: str) -> None:
        assert not self.finished
        self.text += text

    def finish(self) -> None:
        self.finished = True


def scanned(
    text: str, piece: int = 10_000, max_kept_chars: int = 10_000, depths: tuple[int, ...] = (1,)
) -> tuple[str, dict[str, str]]:
    """What is kept, and the texts of pictures by what stands for them."""
    sinks: dict[str, Sink] = {}

    def open_sink(name: str) -> tuple[Sink, str]:
        token = f"<{name} {len(sinks)}>"
        sinks[token] = Sink()
        return sinks[token], token

    scan = PictureScan(NAMES, open_sink, max_kept_chars=max_kept_chars, depths=depths)
    for at in range(0, len(text), piece):
        scan.feed(text[at : at + piece])
    kept = scan.finish()
    assert all(sink.finished for sink in sinks.values())
    return kept, {token: sink.text for token, sink in sinks.items()}


def put_back(value: object, pictures: dict[str, str]) -> object:
    if isinstance(value, dict):
        return {name: pictures.get(str(each), each) if name in NAMES else each for name, each in value.items()}  # type: ignore[misc]
    return value


TEXTS = st.text(st.characters(codec="utf-16-le", categories=None, exclude_categories=()), max_size=12)
KEYS = st.sampled_from([*NAMES, "prompt", "in\\put", '"', "input_image "]) | TEXTS
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES, max_size=5) | VALUES, st.integers(1, 9), st.booleans())
def test_nothing_is_lost_or_changed(value: Any, piece: int, ascii_only: bool) -> None:  # noqa: ANN401
    text = json.dumps(value, ensure_ascii=ascii_only, indent=1)

    kept, pictures = scanned(text.replace("/", "\\/"), piece)

    # A pair of escapes is one character to json, and two halves to a scan
    joined = {
        token: each.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        for token, each in pictures.items()
    }
    assert put_back(json.loads(kept), joined) == value


def test_only_texts_at_the_top_level_are_pictures() -> None:
    text = '{"a": {"input_image": "x"}, "input\\u005fimage" : "yes", "b": ["input_image", "z"], "mask_image": 5}'

    kept, pictures = scanned(text)

    assert list(pictures.values()) == ["yes"]
    assert json.loads(kept) == {
        "a": {"input_image": "x"},
        "input_image": "<input_image 0>",
        "b": ["input_image", "z"],
        "mask_image": 5,
    }


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_pictures_may_lie_deeper(piece: int) -> None:
    # Given the same name in one to four brackets, in objects and in lists
    value = {
        "input_image": "one",
        "mask": {"input_image": "two", "a": [1, "input_image"], "mask_image": "two, too"},
        "images": [{"input_image": "three", "b": {"input_image": "four"}}, {"a": {}, "input_image": "three, too"}],
        "list": ["input_image", "x", ["input_image", "y"]],
    }

    kept, pictures = scanned(json.dumps(value), piece, depths=(2, 3))

    assert list(pictures.values()) == ["two", "two, too", "three", "three, too"]
    for token, text in pictures.items():
        kept = kept.replace(token, text)
    assert json.loads(kept) == value


@pytest.mark.parametrize("piece", [1, 1000])
@pytest.mark.parametrize(
    "text",
    [
        '{"input_image": "AA',
        '{"input_image": "AA\\',
        '{"input_image": "A\nA"}',
        '{"input_image": "A\x00A"}',
        '{"input_image": "A\\x"}',
        '{"input_image": "A\\u12G4"}',
        '{"input_image": "A\\u12',
        '{"prompt": "A\\u12',
        '{"input_image": "AA"',
        '{"input_image" "AA"}',
        '{"input_image": "AA" "BB"}',
        '"input_image": "AA"',
        "]]]]}}}}",
        '{"input_image": "AA"}}',
        "",
    ],
)
def test_what_is_no_json_stays_none(text: str, piece: int) -> None:
    with pytest.raises(ValueError):
        json.loads(scanned(text, piece)[0])


def test_only_so_much_is_kept() -> None:
    picture = "A" * 50_000
    kept, pictures = scanned(json.dumps({"input_image": picture, "prompt": "p"}), 999, max_kept_chars=100)
    assert (len(kept) <= 100, list(pictures.values())) == (True, [picture])

    for long in ('{"prompt": "' + "A" * 200, "[" * 200, " " * 200, "," * 200, '{"' + "\\u0041" * 50):
        with pytest.raises(OverflowError):
            scanned(long, 7, max_kept_chars=100)
