"""Documents and files for deployment name settings and commands that there are."""

import re
from pathlib import Path

import pytest
import typer

from danqing.cli.main import build_app
from danqing.config import Settings

ROOT = Path(__file__).parents[2]
FILES = [
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("README*.md"),
    *(path for path in ROOT.glob("deploy/**/*") if path.is_file() and path.suffix != ".json"),
    ROOT / "compose.yaml",
    ROOT / "Dockerfile",
]
# Variables that Kubernetes would make, and what a name looks like.
NOT_SETTINGS = {"DANQING_SERVICE", "DANQING_X"}


def commands() -> set[str]:
    """`serve`, `models pull`, …"""
    program = typer.main.get_command(build_app())
    found: set[str] = set()
    for name, command in getattr(program, "commands", {}).items():
        found |= {name, *(f"{name} {below}" for below in getattr(command, "commands", {}))}
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_that_are_named_are_settings(file: Path) -> None:
    known = {f"DANQING_{field.upper()}" for field in Settings.model_fields}
    named = {name.rstrip("_") for name in re.findall(r"\bDANQING_[A-Z0-9_]+(?![A-Z0-9_…])", file.read_text("utf-8"))}
    assert named - known - NOT_SETTINGS == set()


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_that_are_named_are_commands(file: Path) -> None:
    # Given what stands at the beginning of a line of a shell, or in backquotes
    text = file.read_text("utf-8")
    named = re.findall(
        r"(?:^|`|/bin/)danqing ([a-z]+(?: (?:drain|list|pull|show|rm|uploads|img2img))?)", text, re.MULTILINE
    )
    # Then there is such a command
    known = commands()
    assert [name for name in named if name not in known and name.split()[0] not in known] == []
