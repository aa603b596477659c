"""Every curl and Python example of the seed document runs as it stands; only host and port are changed."""

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from danqing.http.keys import Keys
from tests.dialects.openai.parts import RED, served_house
from tests.dialects.openai.seed_document import CURL, PYTHON, SEED

DEADLINE_S = 100
SECRET = Keys(enabled=True, ordinary=frozenset({"your-secret-key"}))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that asks for no key."""
    with served_house(tmp_path_factory.mktemp("outputs")) as address:
        yield address


@pytest.fixture(scope="module")
def guarded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with `API_KEY=your-secret-key`."""
    with served_house(tmp_path_factory.mktemp("outputs"), keys=SECRET) as address:
        yield address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the examples find their pictures."""
    for name in ("image", "input", "photo1", "photo2", "photo3"):
        Image.new("RGB", (120, 80), RED).save(tmp_path / f"{name}.jpg")
    return tmp_path


def run(command: list[str], script: str, url: str, folder: Path) -> str:
    """What the script printed; it must end well."""
    assert "localhost:8000" in script
    (folder / "example").write_text(script.replace("http://localhost:8000", url), "utf-8")
    environment = os.environ | {"NO_PROXY": "*", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [*command, "example"], cwd=folder, env=environment, capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def pictures(printed: str) -> list[Image.Image]:
    found: list[Image.Image] = []
    for datum in json.loads(printed)["data"]:
        image = Image.open(io.BytesIO(base64.b64decode(datum["b64_json"])))
        image.load()
        found.append(image)
    return found


def test_the_document_is_the_vendors_to_the_byte() -> None:
    assert hashlib.sha256(SEED.read_bytes()).hexdigest() == (
        "ff32524f5a103bf0b2f3bc6c936c1bec6a8dccd421d3c5a93548fe92a9567414"
    )


def test_the_document_has_these_examples() -> None:
    assert ["images=@" in command for command in CURL] == [True] * 4
    assert ["-u " in command or "Authorization" in command for command in CURL] == [True, False, False, True]


@pytest.mark.parametrize(("number", "count"), [(0, 1), (1, 1), (2, 6), (3, 1)])
def test_curl(url: str, folder: Path, number: int, count: int) -> None:
    found = pictures(run(["bash", "-eu"], CURL[number], url, folder))

    assert [(image.format, image.size) for image in found] == [("PNG", (1024, 1024))] * count


@pytest.mark.parametrize(("number", "welcome"), [(0, True), (1, False), (3, True)])
def test_curl_with_and_without_the_key(guarded_url: str, folder: Path, number: int, welcome: bool) -> None:
    printed = run(["bash", "-eu"], CURL[number], guarded_url, folder)

    if welcome:
        assert len(pictures(printed)) == 1
    else:
        assert json.loads(printed) == {"error": "UNAUTHORIZED", "message": "Invalid API key"}


def test_python(url: str, folder: Path) -> None:
    printed = run([sys.executable, "-W", "error"], PYTHON, url, folder)

    assert printed == "输入: 1 张图像\n输出: 1 张图像\n输入: 2 张图像\n输出: 4 张图像\n"
    for index in range(4):
        with Image.open(folder / f"output_{index}.jpg") as image:
            assert (image.format, image.size) == ("JPEG", (1024, 1024))


def test_python_with_the_key(guarded_url: str, folder: Path) -> None:
    with_key = PYTHON.replace("API_KEY = None ", 'API_KEY = "your-secret-key" ')
    assert with_key != PYTHON

    assert run([sys.executable], with_key, guarded_url, folder).startswith("输入: 1 张图像")
    assert run([sys.executable], PYTHON, guarded_url, folder).startswith("Error: 401")


def test_the_health_check_for_containers(url: str) -> None:
    done = subprocess.run(["curl", "-f", f"{url}/health"], capture_output=True, timeout=DEADLINE_S)

    assert done.returncode == 0
    assert json.loads(done.stdout)["status"] == "healthy"
