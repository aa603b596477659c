"""A server whose pictures tell nothing of how they were made."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from PIL import Image

from tests.e2e.servers import Server, until
from tests.unit.engine.tiny_checkpoint import write_tiny_checkpoint

SECRET = "a red apple of my own"
HOW_IT_WAS_MADE = [text.encode(code) for text in (SECRET, "Steps:", "danqing") for code in ("utf-8", "utf-16-be")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("silent")
    write_tiny_checkpoint(folder / "weights" / "tiny")
    server = Server(folder, command=("-m", "danqing", "serve", "--model", "weights/tiny"))
    server.settings["DANQING_PICTURE_TEXTS"] = "false"
    server.start_ready()
    yield server
    server.terminate()


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_what_the_openai_api_hands_out_is_pixels_alone(server: Server, output_format: str) -> None:
    body = {"prompt": SECRET, "size": "64x64", "seed": 3, "output_format": output_format}
    answer = requests.post(f"{server.url}/v1/images/generations", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    assert_silent(base64.b64decode(answer.json()["data"][0]["b64_json"]))


def test_the_original_its_copies_and_an_enlarged_picture_are_pixels_alone(server: Server) -> None:
    made = studio_pictures(server, {"prompt": SECRET, "width": 64, "height": 64, "upscale": True})
    assert sorted(made) == ["original", "preview", "upscaled"]
    again = studio_pictures(server, {"prompt": SECRET, "mode": "upscale"}, input_image=made["original"])
    for content in (*made.values(), *again.values()):
        assert_silent(content)


def studio_pictures(server: Server, wanted: dict[str, object], **files: bytes) -> dict[str, bytes]:
    """Those of a job, by kind."""
    parts: dict[str, Any] = {"request": (None, json.dumps(wanted))}
    parts |= {name: ("it.png", content, "image/png") for name, content in files.items()}
    answer = requests.post(f"{server.url}/studio/batches", files=parts, timeout=30)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()["jobs"][0]

    def ended() -> bool:
        job.update(requests.get(f"{server.url}/studio/jobs/{job['id']}", timeout=30).json())
        return job["state"] in ("completed", "failed", "cancelled")

    until(ended, "the job has ended")
    assert job["state"] == "completed", job
    return {
        kind: requests.get(server.url + told["url"], timeout=30).content
        for kind, told in job["pictures"].items()
        if told is not None
    }


def assert_silent(content: bytes) -> None:
    """Neither as Pillow reads it, nor anywhere in its bytes."""
    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        assert not picture.getexif()
        assert not {"parameters", "danqing", "exif", "xmp", "comment"} & set(picture.info)
    assert not [told for told in HOW_IT_WAS_MADE if told in content]
