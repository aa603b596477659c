"""`bash start.sh`, as the document has it: installs, then serves where the document says."""

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from danqing.engine.families.z_image.capabilities import Z_IMAGE

START = Path(__file__).parents[3] / "start.sh"


def program(file: Path, name: str) -> None:
    """One that says how it was called."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'#!/bin/sh\necho "{name} in $PWD: $*"\n')
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def start(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The script in a folder, called from elsewhere."""
    home = folder / "danqing"
    program(folder / "bin" / "make", "make")
    program(home / ".venv" / "bin" / "danqing", "danqing")
    shutil.copy(START, home)
    return subprocess.run(
        ["bash", str(home / "start.sh"), *arguments],
        cwd=folder,
        env={"PATH": f"{folder / 'bin'}:/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=True,
    )


def test_it_installs_and_serves_on_the_documented_address(tmp_path: Path) -> None:
    home = tmp_path / "danqing"

    done = start(tmp_path, "--model", "z-image-turbo")

    assert done.stdout.splitlines() == [
        f"make in {home}: .venv/.installed",
        f"danqing in {home}: serve --host 0.0.0.0 --port 8004 --allow-public --model z-image-turbo",
    ]
    assert done.stderr == ""


SDNQ_MODELS = sorted(card.id for card in Z_IMAGE.known_models if card.precision.startswith("sdnq-"))


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        *((["--model", model], {}) for model in SDNQ_MODELS),
        *(([f"--model={model}"], {}) for model in SDNQ_MODELS),
        (["--model", "sample", "--model", "Disty0/Z-Image-Turbo-SDNQ-int8"], {}),
        (["--precision", "sdnq-uint4"], {}),
        ([], {"DANQING_MODEL": "z-image-turbo-uint4"}),
        ([], {"DANQING_MODELS": "sample, z-image-turbo-int8"}),
        ([], {"MODEL_NAME": "z-image-turbo-uint4"}),
    ],
)
def test_a_model_that_needs_sdnq_gets_it_and_that_is_said(
    tmp_path: Path, arguments: list[str], variables: dict[str, str]
) -> None:
    done = start(tmp_path, *arguments, **variables)

    assert done.stdout.splitlines()[0].endswith(": .venv/.installed-sdnq")
    assert "GPL-3.0" in done.stderr


@pytest.mark.parametrize("file", [".env", "apps/api/.env"])
def test_it_reads_the_models_of_the_env_file_too_and_tells_of_no_second_install(tmp_path: Path, file: str) -> None:
    home = tmp_path / "danqing"
    (home / file).parent.mkdir(parents=True)
    (home / file).write_text("DANQING_PORT=1\nDANQING_MODELS='sample,z-image-turbo-int8'\n")
    first = start(tmp_path)
    (home / ".venv" / ".installed-sdnq").touch()
    second = start(tmp_path)

    for done in (first, second):
        assert done.stdout.splitlines()[0].endswith(": .venv/.installed-sdnq")
    assert (bool(first.stderr), bool(second.stderr)) == (True, False)


@pytest.mark.parametrize("file", ["models.toml", "our models.toml"])
@pytest.mark.parametrize(
    "entry", ['precision = "sdnq-int8"', "source = 'Disty0/FLUX.1-dev-SDNQ-uint4-svd-r32'  # as it is"]
)
def test_it_reads_the_models_file_too(tmp_path: Path, file: str, entry: str) -> None:
    home = tmp_path / "danqing"
    home.mkdir()
    (home / file).write_text(f"[models.small]\n{entry}\n")
    variables = {} if file == "models.toml" else {"DANQING_MODELS_FILE": file}

    done = start(tmp_path, "--model", "small", **variables)
    (home / ".env").write_text(f"DANQING_MODELS_FILE='{file}' # ours\n")
    by_env_file = start(tmp_path, "--model", "small")

    for each in (done, by_env_file):
        assert each.stdout.splitlines()[0].endswith(": .venv/.installed-sdnq")


def test_a_models_file_without_such_a_model_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "danqing").mkdir()
    (tmp_path / "danqing" / "models.toml").write_text('[models.small]  # no sdnq here\nprecision = "torchao-int8"\n')

    done = start(tmp_path, "--model", "small")

    assert done.stdout.splitlines()[0].endswith(": .venv/.installed")


@pytest.mark.parametrize(
    "arguments",
    [[], ["--model", "sample"], ["--precision", "torchao-int8"], ["--model", "./flux-int8"]],
)
def test_nobody_else_gets_it(tmp_path: Path, arguments: list[str]) -> None:
    done = start(tmp_path, *arguments)

    assert done.stdout.splitlines()[0].endswith(": .venv/.installed")
    assert done.stderr == ""


def test_the_makefile_installs_that_extra_within_the_constraints() -> None:
    shown = subprocess.run(
        ["make", "--dry-run", "--always-make", ".venv/.installed-sdnq"],
        cwd=START.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "--constraint constraints.txt --editable '.[sdnq]'" in shown
