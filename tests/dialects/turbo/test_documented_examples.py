"""Every Python and curl example of the seed document runs as it stands; only host and port are changed."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from danqing.dialects.turbo.dialect import turbo
from tests.dialects.house import House, ids_from, served
from tests.dialects.turbo.seed_document import SEED, TASK_ID
from tests.dialects.turbo.seed_programs import CURL, PYTHON, run_curl, run_python


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose first task gets the id that the examples ask for."""
    root = tmp_path_factory.mktemp("outputs")

    def house() -> House:
        return House(root, automatic=True, new_id=ids_from(TASK_ID))

    with served(house, [turbo()]) as address:
        subprocess.run(
            ["curl", "-sf", f"{address}/api/generate", "-H", "Content-Type: application/json", "-d", '{"prompt": "p"}'],
            check=True,
            capture_output=True,
        )
        yield address


def python(number: int, url: str, folder: Path) -> str:
    return run_python(PYTHON[number], url, folder)


def curl(number: int, url: str, folder: Path) -> str:
    return run_curl(CURL[number], url, folder)


def size_of(picture: Path) -> tuple[int, int]:
    with Image.open(picture) as image:
        image.load()
        assert image.format == "PNG"
        return image.size


def test_the_document_is_the_vendors_to_the_byte() -> None:
    assert hashlib.sha256(SEED.read_bytes()).hexdigest() == (
        "4f4b15d4258ab817d9c8780a0e3caccd1d5dbe89730b32c9c350c672fd991c32"
    )


def test_the_document_has_these_examples() -> None:
    # Five endpoints and one complete run, in each language
    assert (len(PYTHON), len(CURL)) == (6, 6)


def test_python_health(url: str, tmp_path: Path) -> None:
    assert "'model_loaded': True" in python(0, url, tmp_path)


def test_python_generate(url: str, tmp_path: Path) -> None:
    assert python(1, url, tmp_path).startswith("任务ID: ")


def test_python_task(url: str, tmp_path: Path) -> None:
    assert python(2, url, tmp_path).endswith("任务状态: completed\n任务完成！\n")


def test_python_result(url: str, tmp_path: Path) -> None:
    assert python(3, url, tmp_path) == "图像已保存\n"
    assert size_of(tmp_path / "result.png") == (1024, 1024)


def test_python_status(url: str, tmp_path: Path) -> None:
    assert python(4, url, tmp_path) == "队列长度: 0\nGPU使用率: None%\n"


def test_python_complete(url: str, tmp_path: Path) -> None:
    printed = python(5, url, tmp_path)

    assert "图像已保存至: output_" in printed
    (picture,) = tmp_path.glob("output_*.png")
    assert size_of(picture) == (1024, 1024)


def test_curl_health(url: str, tmp_path: Path) -> None:
    assert json.loads(curl(0, url, tmp_path))["data"] == {"status": "healthy", "model_loaded": True}


def test_curl_generate(url: str, tmp_path: Path) -> None:
    assert json.loads(curl(1, url, tmp_path))["data"]["status"] == "pending"


def test_curl_task(url: str, tmp_path: Path) -> None:
    assert json.loads(curl(2, url, tmp_path))["data"]["task_id"] == TASK_ID


def test_curl_result(url: str, tmp_path: Path) -> None:
    curl(3, url, tmp_path)

    assert size_of(tmp_path / "result.png") == (1024, 1024)


def test_curl_status(url: str, tmp_path: Path) -> None:
    assert json.loads(curl(4, url, tmp_path))["data"]["queue"]["max_queue_size"] == 100


def test_curl_complete(url: str, tmp_path: Path) -> None:
    printed = curl(5, url, tmp_path)

    assert printed.endswith("图像已保存\n")
    (picture,) = tmp_path.glob("result_*.png")
    assert size_of(picture) == (1024, 1024)
