"""The systemd units: what they start, how long it may take to end, and with what rights."""

import re
from pathlib import Path

import pytest

from danqing.cli.main import build_app
from danqing.config import Settings, load_settings

FOLDER = Path(__file__).parents[2] / "deploy/systemd"
UNITS = ("danqing.service", "danqing-worker@.service")
NOT_OURS = {"HF_HOME"}


def lines(unit: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", (FOLDER / unit).read_text("utf-8"), re.MULTILINE)


def settings_of(unit: str, tmp_path: Path) -> Settings:
    pairs = (pair.split("=", 1) for line in lines(unit, "Environment") for pair in line.split())
    return load_settings(environ=dict(pairs), env_file=tmp_path / "none")


@pytest.mark.parametrize("unit", UNITS)
def test_a_command_that_there_is_with_settings_that_there_are(unit: str, tmp_path: Path) -> None:
    (command,) = lines(unit, "ExecStart")
    name = command.removeprefix("/opt/danqing/bin/danqing ")
    known = {one.name or getattr(one.callback, "__name__", "") for one in build_app().registered_commands}
    assert name in known
    assert settings_of(unit, tmp_path).data_dir.is_relative_to("/var/lib/danqing")


@pytest.mark.parametrize("unit", UNITS)
def test_it_has_the_time_to_end(unit: str, tmp_path: Path) -> None:
    (stop,) = lines(unit, "TimeoutStopSec")
    assert float(stop) > settings_of(unit, tmp_path).drain_deadline_s + 10
    assert lines(unit, "KillMode") == ["mixed"]  # SIGTERM is for the server; it ends its processes itself


@pytest.mark.parametrize("unit", UNITS)
def test_it_has_few_rights_and_comes_back(unit: str) -> None:
    assert lines(unit, "User") == ["danqing"]
    assert lines(unit, "NoNewPrivileges") == ["true"]
    assert lines(unit, "ProtectSystem") == ["strict"]
    assert lines(unit, "CapabilityBoundingSet") == [""]
    assert lines(unit, "Restart") == ["always"]
    assert "landlock_restrict_self" in lines(unit, "SystemCallFilter")[1]
