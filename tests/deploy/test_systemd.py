"""The systemd units: what they start, how long it may take to end, and with what rights."""

import re
from pathlib import Path

import pytest

from danqing.cli.main import build_app
from danqing.cli.worker import DRAINED
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
    name = command.removeprefix("/opt/danqing/bin/danqing ").split()[0]
    known = {one.name or getattr(one.callback, "__name__", "") for one in build_app().registered_commands}
    assert name in known
    assert settings_of(unit, tmp_path)


def test_the_data_dir_is_each_units_own(tmp_path: Path) -> None:
    # Given that both read one file, which counts before `Environment=`
    server, worker = UNITS
    assert lines(server, "EnvironmentFile")[0] == lines(worker, "EnvironmentFile")[0]
    # Then a worker's is an option, which counts before all
    (command,) = lines(worker, "ExecStart")
    assert command.endswith(" worker --data-dir /var/lib/danqing/worker-%i")
    assert "danqing/worker-%i" in lines(worker, "StateDirectory")[0].split()
    assert settings_of(server, tmp_path).data_dir == Path("/var/lib/danqing")


@pytest.mark.parametrize("unit", UNITS)
def test_each_has_a_file_for_what_it_cannot_share(unit: str) -> None:
    # Given that the ports for Prometheus are such
    common, own = lines(unit, "EnvironmentFile")
    assert common == "/etc/danqing/danqing.env"
    # Then there is a file, which need not be there, that counts before the common one, and the documents name it
    assert own.startswith("-/etc/danqing/")
    document = (FOLDER.parents[1] / "docs/deployment.md").read_text("utf-8")
    assert own.removeprefix("-").replace("%i", "0") in document


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


def test_a_worker_that_was_drained_stays_away() -> None:
    for key in ("RestartPreventExitStatus", "SuccessExitStatus"):
        assert lines("danqing-worker@.service", key) == [str(DRAINED)]
