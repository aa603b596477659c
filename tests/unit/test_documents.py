"""The documents do not point at what is not there, and their diagrams can be drawn."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)[^)]*\)")
NAMED = re.compile(r"`((?:src|tests|docs)/[\w./-]*\w/?)`")
SEQUENCE_DIAGRAM = re.compile(r"```mermaid\nsequenceDiagram\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_named_files_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = [link for link in LINK.findall(text) if "://" not in link]
    missing = [link for link in links if not (document.parent / link).exists()]
    missing += [name for name in NAMED.findall(text) if not (ROOT / name).exists()]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_sequence_diagrams_have_nothing_that_ends_a_statement(document: Path) -> None:
    # Mermaid takes a semicolon for a new line and # for a comment: such a diagram is shown as an error.
    diagrams = SEQUENCE_DIAGRAM.findall(document.read_text(encoding="utf-8"))
    assert [line for diagram in diagrams for line in diagram.splitlines() if ";" in line or "#" in line] == []
