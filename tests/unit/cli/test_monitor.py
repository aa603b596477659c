"""`danqing monitor` against a real server."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from danqing.cli.options import UserError
from tests.unit.cli.genserve_house import a_server, danqing


def test_one_look(tmp_path: Path) -> None:
    with a_server(tmp_path) as (url, _):
        done = danqing("monitor", "--url", url)

    assert done.exit_code == 0, done.output
    assert "running, answers in" in done.output
    assert re.search(r"processes +1 alive, 0 dead, 0 restarts", done.output)
    assert re.search(r"queue +0 waiting, 0 being made, 0 completed, 0 failed", done.output)
    assert re.search(r"GPU memory +no GPU in use", done.output)
    assert "flux1-dev (FLUX.1-dev): 0 of 0 processes, text-to-image, image-to-image, fill" in done.output


def test_an_address_may_lack_its_scheme(tmp_path: Path) -> None:
    with a_server(tmp_path) as (url, _):
        done = danqing("monitor", "--url", url.removeprefix("http://"))

    assert done.exit_code == 0, done.output


def test_a_port_that_speaks_only_genserve_tells_less(tmp_path: Path) -> None:
    with a_server(tmp_path, with_turbo=False) as (url, _):
        done = danqing("monitor", "--url", url)

    assert done.exit_code == 0, done.output
    assert done.output.count("not told on this port") == 2


# Tests that run in a shell's background have SIGINT ignored, and so would their children.
WITH_CTRL_C = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from danqing.cli.main import main; main()"
)


def test_it_looks_again_until_ctrl_c(tmp_path: Path) -> None:
    with a_server(tmp_path) as (url, _):
        command = [sys.executable, "-c", WITH_CTRL_C, "monitor", "--continuous", "0.1", "--url", url]
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as run:
            assert run.stdout is not None
            rates = 0
            for line in run.stdout:
                rates += "pictures a minute" in line
                if rates == 2:
                    break
            run.send_signal(signal.SIGINT)
            _, errors = run.communicate(timeout=60)

    assert (run.returncode, errors) == (0, "")


def test_no_server_is_one_line() -> None:
    done = danqing("monitor", "--url", "http://127.0.0.1:9")

    assert isinstance(done.exception, UserError)
    assert str(done.exception) == "http://127.0.0.1:9 does not answer."


@pytest.mark.parametrize("seconds", ["0", "-1", "soon"])
def test_an_interval_that_is_none(seconds: str) -> None:
    assert danqing("monitor", "--continuous", seconds).exit_code == 2
