"""The scripts that the document names, each by its own command line: they are `danqing`'s commands."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from danqing.cli.server_file import RunningServer, announced
from danqing.dialects.genserve.dialect import genserve
from tests.dialects.genserve.parts import a_house
from tests.dialects.genserve.seed_document import TEXT
from tests.dialects.house import served
from tests.services.ports import free_port

SCRIPTS = Path(__file__).parents[3] / "scripts"


def ran(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPTS / name, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("performance_monitor.py", "danqing monitor"),
        ("test_upload_methods.py", "danqing bench uploads"),
        ("test_img2img.py", "danqing selftest img2img"),
    ],
)
def test_each_is_a_command_of_danqing(name: str, command: str) -> None:
    assert f"python {name}" in TEXT
    assert f"Usage: {command} [" in " ".join(ran(name, "--help").stdout.split())


def test_arguments_go_on() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    for arguments in (("test_img2img.py", "fill"), ("test_upload_methods.py", "full")):
        answer = ran(*arguments, "--url", address)
        assert (answer.returncode, f"{address} does not answer" in answer.stderr) == (1, True), answer
    answer = ran("performance_monitor.py", "--continuous", "x")
    assert (answer.returncode, "--continuous" in answer.stderr) == (2, True)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server on another port than the usual one."""
    with served(lambda: a_house(tmp_path / "outputs"), [genserve()]) as address:
        yield address


@pytest.mark.parametrize("known_by", ["data dir", "env file", "variable", "port of the dialect"])
def test_started_where_they_are_they_find_the_server_of_the_folder_above(
    tmp_path: Path, url: str, known_by: str
) -> None:
    # Given a server of Danqing's folder, or a process manager's, which announces nothing
    home, port = tmp_path / "danqing", urlsplit(url).port
    shutil.copytree(SCRIPTS, home / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    (home / "danqing-data").mkdir()
    variables: dict[str, str] = {"PORT": str(free_port())} if known_by == "data dir" else {}
    if known_by == "env file":
        (home / ".env").write_text(f"PORT={port}\n")
    elif known_by == "variable":
        variables = {"DANQING_PORT": str(port)}
    elif known_by == "port of the dialect":
        variables = {"DANQING_PORT": "0", "DANQING_LISTEN": f"turbo={free_port()},genserve={port}"}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "performance_monitor.py"],
            cwd=home / "scripts",
            env=os.environ | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    if known_by == "data dir":
        with announced(home / "danqing-data", RunningServer.of(url, model="tiny")):
            answer = run()
    else:
        answer = run()

    assert answer.returncode == 0, answer
    assert "running, answers in" in answer.stdout
