"""The command as its user meets it: quick, with help, and one line for an error."""

import subprocess
import sys
from pathlib import Path

import pytest

import danqing
from danqing.cli.main import main
from tests.unit.cli import genserve_house

HEAVY = ("torch", "diffusers", "transformers")


def run(*arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "danqing", *arguments], capture_output=True, text=True, timeout=60, cwd=cwd
    )


def test_version() -> None:
    assert run("--version").stdout == f"danqing {danqing.__version__}\n"


def test_help_names_every_command_and_every_command_has_examples() -> None:
    text = genserve_house.danqing("--help").stdout
    groups = ("models", "models list", "models show", "models pull", "models rm", "bench uploads", "selftest img2img")
    for command in ("serve", "generate", "doctor", "monitor", "backup", "restore", *groups):
        assert command.split()[0] in text
        assert f"danqing {command}" in genserve_house.danqing(*command.split(), "--help").stdout.split("Examples:")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "x", "-o", "x.jpg"], "x.jpg: pictures are PNG files"),
        (["generate", "x", "-o", "/no such folder/x.png"], "there is no folder"),
        (["generate", "x", "-o", "x.png", "--server", "http://127.0.0.1:9"], "http://127.0.0.1:9 does not answer"),
        (["generate", "x", "-o", "x.png", "--server", "nonsense"], "nonsense does not answer"),
        (["generate", "x", "-o", "x.png", "--server", "http://a", "--model", "b"], "--model goes with"),
        (["generate", "x", "-o", "x.png", "--server", "http://a", "--precision", "b"], "--precision goes with"),
        (["generate", "x", "-o", "x.png", "--precision", "int3"], "DANQING_PRECISION: 'int3':"),
        (["serve", "--model", "sample", "--model", "nothing"], "nothing is neither a known model"),
        (["serve", "--model", "sample", "--model", "sample"], "Two models would have the id sample"),
        (["serve", "--port", "70000"], "DANQING_PORT (PORT): 70000:"),
        (["serve", "--listen", "klingon=1"], "klingon is not a dialect; there is "),
        (["serve", "--listen", "5000"], "DANQING_LISTEN: "),
        (["serve", "--model", "nothing"], "nothing is neither a known model"),
        (["serve", "--log-format", "xml"], "DANQING_LOG_FORMAT: 'xml':"),
        (["serve", "--host", "203.0.113.1"], "203.0.113.1 is reached from other machines"),
        (["serve", "--host", "203.0.113.1", "--allow-public"], "203.0.113.1 is not an address of this machine"),
    ],
)
def test_a_users_error_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no_process(*_: object, **__: object) -> None:
        raise OSError  # which `serve` bears: it starts one only to save time

    monkeypatch.setattr("danqing.workers.prepared.started", no_process)
    monkeypatch.setattr("sys.excepthook", sys.excepthook)  # Typer sets its own
    monkeypatch.setattr("sys.argv", ["danqing", *arguments])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main()
    said = ended.value.code
    assert isinstance(said, str)  # which Python prints, and exits with 1
    assert said.startswith("danqing: ")
    assert message in said
    assert len(said.splitlines()) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "x", "-o", "x.jpg"], "x.jpg: pictures are PNG files"),
        (["serve", "--model", "nothing"], "nothing is neither a known model"),
    ],
)
def test_its_exit_code_is_1_in_a_process_of_its_own(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("danqing: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("module", ["danqing.wiring", "danqing.asgi", "danqing.cli.main", "danqing.cli.own_engine"])
def test_the_server_process_never_imports_torch(module: str) -> None:
    script = f"import sys, {module}; sys.exit(any(name in sys.modules for name in {HEAVY!r}))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_help_does_not_import_what_only_some_commands_need() -> None:
    script = "import sys, danqing.cli.main; sys.exit(any(n in sys.modules for n in ('pydantic', 'fastapi', 'httpx2')))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
