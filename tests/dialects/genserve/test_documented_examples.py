"""Every Python and curl example of the seed document runs as it stands; only host and port are changed."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from danqing.dialects.genserve.dialect import genserve
from tests.dialects.genserve.parts import RED, a_house, a_picture, painted
from tests.dialects.genserve.seed_document import SEED, blocks
from tests.dialects.house import served

HOST = "http://localhost:12411"
PYTHON = blocks("python")
SCRIPTS = [block for block in blocks("bash") if "curl" in block]
DEADLINE_S = 100


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("outputs")
    with served(lambda: a_house(root), [genserve()]) as address:
        yield address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the pictures that the examples send."""
    (tmp_path / "input_image.png").write_bytes(a_picture((96, 96)))
    (tmp_path / "mask_image.png").write_bytes(a_picture((96, 96), (255, 255, 255)))
    return tmp_path


def run(command: list[str], script: str, url: str, folder: Path) -> str:
    """What the script printed; it must end well."""
    assert HOST in script
    (folder / "example").write_text(script.replace(HOST, url), "utf-8")
    environment = os.environ | {"NO_PROXY": "*", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [*command, "example"], cwd=folder, env=environment, capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def answers(printed: str) -> list[dict[str, object]]:
    """The JSON objects that several commands printed, one after the other."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(printed):
        value, at = decoder.raw_decode(printed, at)
        found.append(value)
    return found


def test_the_document_is_the_vendors_to_the_byte() -> None:
    assert hashlib.sha256(SEED.read_bytes()).hexdigest() == (
        "2fed1dc7cc7d243229af9a9d0afd296da836c1ad43d803a9fac0a0aac0a339f5"
    )


def test_the_document_has_these_examples() -> None:
    # A form, the three ways of asking, the status
    assert (len(PYTHON), [script.count("curl ") for script in SCRIPTS]) == (1, [1, 3, 1])


@pytest.mark.parametrize(
    ("function", "file", "begun_with_red"),
    [
        ("text2img_json_example", "generated_image.png", False),
        ("img2img_form_example", "img2img_result.png", True),
        ("fill_form_example", "fill_result.png", True),
    ],
)
def test_python(url: str, folder: Path, function: str, file: str, begun_with_red: bool) -> None:
    # The document defines functions; whoever copies it calls them
    printed = run([sys.executable], f"{PYTHON[0]}\n{function}()\n", url, folder)

    assert printed.startswith("图片已保存，耗时: ")
    with Image.open(folder / file) as picture:
        assert (picture.format, picture.size) == ("PNG", (1024, 1024))
        assert (picture.getpixel((0, 0)) == RED) == begun_with_red


def test_curl_form(url: str, folder: Path) -> None:
    (answer,) = answers(run(["bash", "-eu"], SCRIPTS[0], url, folder))

    assert answer["mode"] == "img2img"
    assert painted(answer).size == (1024, 1024)


def test_curl_all_ways(url: str, folder: Path) -> None:
    found = answers(run(["bash", "-eu"], SCRIPTS[1], url, folder))

    assert [answer["mode"] for answer in found] == ["text2img", "img2img", "fill"]
    for answer in found:
        assert painted(answer).size == (1024, 1024)


def test_curl_status(url: str, folder: Path) -> None:
    (answer,) = answers(run(["bash", "-eu"], SCRIPTS[2], url, folder))

    assert answer["status"] == "running"
