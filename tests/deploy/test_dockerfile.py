"""The image's build file: what it copies, what it installs, and as whom it runs. It is read here, not built."""

import os
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
TARGETS = ("cpu", "cuda")


def stages() -> dict[str, list[str]]:
    """The instructions of each stage, continued lines joined, by its name and in their order."""
    text = re.sub(r"^\s*#.*\n", "", TEXT, flags=re.MULTILINE).replace("\\\n", "")
    found: dict[str, list[str]] = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        if start := re.fullmatch(r"FROM \S+ AS (\w+)", line):
            found[start[1]] = []
        else:
            found[list(found)[-1]].append(line)
    return found


def copied(stage: str) -> list[str]:
    """What a stage takes from the build's folder."""
    lines = (line.split()[1:-1] for line in stages()[stage] if line.startswith("COPY "))
    return [name for names in lines if not names[0].startswith("--from") for name in names]


def test_without_a_target_the_image_for_gpus_is_built() -> None:
    assert list(stages())[-1] == "cuda"
    assert set(TARGETS) < set(stages())


@pytest.mark.parametrize("target", TARGETS)
def test_all_that_the_package_is_built_from_is_copied_and_not_ignored(target: str) -> None:
    # Given what `pip install .` reads
    needed = {"pyproject.toml", "constraints.txt", "src", PROJECT["readme"], *PROJECT["license-files"]}
    # Then the image has it, and the build's folder is not told to leave it out
    assert set(copied(target)) == needed
    admitted = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE)
    assert needed <= set(admitted)
    assert all((ROOT / name).exists() for name in needed)


@pytest.mark.parametrize("target", TARGETS)
def test_packages_do_not_come_again_when_the_source_has_changed(target: str) -> None:
    lines = stages()[target]
    packages = next(number for number, line in enumerate(lines) if "--requirement requirements.txt" in line)
    source = next(number for number, line in enumerate(lines) if line.startswith("COPY src "))
    assert packages < source
    assert not any("pyproject.toml" in line for line in lines[:packages])  # its version, its linters, …
    assert "--no-deps" in lines[source + 1]
    assert all("--constraint constraints.txt" in line for line in lines if "pip install" in line)


def test_what_is_installed_are_the_dependencies_and_those_of_the_extras(tmp_path: Path) -> None:
    # Given the command that writes their names
    (command,) = (line.removeprefix("RUN ") for line in stages()["names"] if line.startswith("RUN "))
    (extras,) = (line.removeprefix("ARG EXTRAS=") for line in stages()["names"] if line.startswith("ARG "))
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (tmp_path / "python").symlink_to(sys.executable)
    # When it is run
    environ = {"EXTRAS": extras, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environ, check=True)
    # Then one image has what a server, a worker and Flower need
    lines = (tmp_path / "requirements.txt").read_text().splitlines()
    optional = [one for name in extras.split(",") for one in PROJECT["optional-dependencies"][name]]
    assert lines == [*PROJECT["dependencies"], *optional]
    assert {"torch", "celery", "psycopg", "redis", "obstore", "flower"} <= {Requirement(line).name for line in lines}


@pytest.mark.parametrize("target", TARGETS)
def test_the_server_is_nobody_special_by_a_number(target: str) -> None:
    """By a name, Kubernetes cannot tell that it is not root."""
    assert stages()[target][-1] == "USER 1000:1000"


def test_it_writes_only_below_data_and_pictures() -> None:
    base = "\n".join(stages()["base"])
    assert re.search(r"install --directory --owner=danqing --group=danqing /data /data/huggingface /pictures", base)
    assert "DANQING_DATA_DIR=/data" in base
    assert fnmatch(base, "*HF_HOME=/data/huggingface*")


def test_no_registry_is_named() -> None:
    assert "://" not in TEXT.replace("http://localhost:8000/health", "")
