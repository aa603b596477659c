"""SECURITY.md names tests, and each of them exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)
RISKS = [f"API{number} " for number in range(1, 11)]


@cache
def found_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(function.name for function in functions)


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_each_test_that_is_named_exists(path: str, name: str) -> None:
    assert name in found_in(path)


@pytest.mark.parametrize("risk", RISKS)
def test_each_risk_has_a_test(risk: str) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| {risk}")]
    assert "::test_" in row


def test_nothing_is_named_in_another_way() -> None:
    assert len(NAMED) == PAGE.count("::test_") >= 40
