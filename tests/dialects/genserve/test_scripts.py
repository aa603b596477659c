"""The scripts that the document names, each by its own command line: they are `danqing`'s commands."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.dialects.genserve.seed_document import TEXT
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
