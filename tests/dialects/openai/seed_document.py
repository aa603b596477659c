"""The seed document beside this file, a verbatim copy, cut into its examples."""

import json
import re
from pathlib import Path
from typing import Any

SEED = Path(__file__).parent / "seed.md"
_TEXT = SEED.read_text("utf-8")
# One fence of the document is not where it should be, so commands are found by themselves, not by their blocks.
_CURL = re.compile(r"^curl (?:.*\\\n)*.*$", re.MULTILINE)

CURL = _CURL.findall(_TEXT)
PYTHON = re.search(r"^```python\n(.*?)^```$", _TEXT, re.MULTILINE | re.DOTALL)[1]  # type: ignore[index]
VARIABLES = re.findall(r"^([A-Z][A-Z_]+)=", _TEXT, re.MULTILINE)


def example(heading: str) -> Any:  # noqa: ANN401 - JSON
    """The JSON block right after the only place where heading stands."""
    assert _TEXT.count(heading) == 1, heading
    rest = _TEXT[_TEXT.index(heading) :]
    return json.loads(rest.split("```json\n")[1].split("```")[0])


def section(title: str) -> str:
    """The text from this line of the document to the next of its kind."""
    rest = _TEXT[_TEXT.index(title) + len(title) :]
    return rest.split("\n### ")[0]


def error_codes() -> dict[str, int]:
    """The table of codes: code to status."""
    return {code: int(status) for code, status in re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", _TEXT, re.MULTILINE)}
