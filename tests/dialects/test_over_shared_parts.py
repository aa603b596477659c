"""A part of this suite over two API processes, PostgreSQL, Redis and S3; `make test-scaled` runs all of it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dialects.conftest import ONE_PROCESS_ONLY
from tests.dialects.sides import IS_SCALED, VARIABLE

ROOT = Path(__file__).parents[2]
CHOSEN = (
    "turbo/test_tasks.py",
    "zimage/test_tasks.py",
    "zimage/test_batches_at_once.py",
    "live/test_documented_flow.py",
    "openai/test_streaming.py",
    "genserve/test_waiting.py",
)


@pytest.mark.skipif(IS_SCALED, reason="all of it runs so")
@pytest.mark.timeout(300)
def test_the_dialects_are_the_same_from_two_api_processes() -> None:
    # Given tests of every dialect
    chosen = [f"tests/dialects/{name}" for name in CHOSEN]
    # When they are run with requests going to two API processes in turn, and jobs made by a third
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *chosen]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        command, cwd=ROOT, env=variables | {VARIABLE: "scaled"}, capture_output=True, text=True, check=False
    )
    # Then they pass as they are
    assert done.returncode == 0, done.stdout[-10_000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 80


def test_what_is_passed_over_is_there() -> None:
    for name in ONE_PROCESS_ONLY:
        path, _, test = name.partition("::")
        assert f"def {test}(" in (Path(__file__).parent / path).read_text(encoding="utf-8"), name
