"""The seed document beside this file, a verbatim copy, cut into its examples."""

import json
import re
from pathlib import Path
from typing import Any

SEED = Path(__file__).parent / "seed.md"
TEXT = SEED.read_text("utf-8")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    """All code blocks in that language, in order."""
    return [body for tag, body in _BLOCK.findall(TEXT) if tag == language]


def example(*way: str) -> Any:  # noqa: ANN401 - JSON
    """The first JSON block behind these texts, each of which stands behind the one before."""
    found = _BLOCK.search(TEXT, _end_of(way))
    assert found is not None
    assert found[1] == "json"
    return json.loads(found[2])


def table(*way: str) -> list[list[str]]:
    """The cells of the first table behind these texts, row by row, without its head."""
    lines = TEXT[TEXT.index("\n|", _end_of(way)) + 1 :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def _end_of(way: tuple[str, ...]) -> int:
    at = 0
    for text in way:
        at = TEXT.index(text, at) + len(text)
    return at
