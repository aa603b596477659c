"""The seed document beside this file, a verbatim copy, cut into its examples."""

import json
import re
from pathlib import Path
from typing import Any

SEED = Path(__file__).parent / "seed.md"
_TEXT = SEED.read_text("utf-8")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

TASK_ID = "550e8400-e29b-41d4-a716-446655440000"


def blocks(language: str) -> list[str]:
    """All code blocks in that language, in order."""
    return [body for tag, body in _BLOCK.findall(_TEXT) if tag == language]


def example(heading: str) -> Any:  # noqa: ANN401 - JSON
    """The JSON block right after the only place where heading stands."""
    assert _TEXT.count(heading) == 1, heading
    found = _BLOCK.search(_TEXT, _TEXT.index(heading))
    assert found is not None
    assert found[1] == "json"
    return json.loads(found[2])


def section(title: str) -> str:
    """The text from this line of the document to the next rule."""
    return _TEXT[_TEXT.index(title) :].split("\n---\n")[0]
