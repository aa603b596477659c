"""The seed document beside this file, a verbatim copy, cut into its examples."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SEED = Path(__file__).parent / "seed.md"
_TEXT = SEED.read_text("utf-8")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STRING_OR_COMMENT = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*')

TASK_ID = "b0e4aaf0bfa7421b9cb94c624c7fd139"
JOB_ID = "b0e4aaf0-bfa7-421b-9cb9-4c624c7fd139"
BATCH_ID = "0d6b3b3b-0b4b-4c87-8d46-6b1e7e6f7f1a"
KEY = "client-key-1"


@dataclass(frozen=True)
class DocumentedRequest:
    """One of the document's `http` blocks. target may hold `{batch_id}`."""

    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)


def blocks(language: str) -> list[str]:
    """All code blocks in that language, in order."""
    return [body for tag, body in _BLOCK.findall(_TEXT) if tag == language]


def without_comments(text: str) -> str:
    """JSON as it would be without the document's `// …`; strings stay as they are."""
    return _STRING_OR_COMMENT.sub(lambda found: found[1] or "", text)


def example(heading: str, number: int = 0) -> Any:  # noqa: ANN401 - JSON
    """The JSON block of that number in the section whose heading holds this text."""
    title = re.search(rf"^#+ .*{re.escape(heading)}.*$", _TEXT, re.MULTILINE)
    assert title is not None, heading
    section = re.split(r"^#+ ", _TEXT[title.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    found = [body for tag, body in _BLOCK.findall(section) if tag == "json"]
    return json.loads(without_comments(found[number]))


def requests() -> list[DocumentedRequest]:
    """The document's `http` blocks that are requests."""
    return [_parsed(block) for block in blocks("http") if " /" in block]


def _parsed(block: str) -> DocumentedRequest:
    first, *others = block.strip().splitlines()
    method, target = first.split(" ")
    return DocumentedRequest(method, target, dict(line.split(": ", 1) for line in others))


def said(text: str) -> bool:
    """Whether the document says so, word for word."""
    return text in _TEXT
