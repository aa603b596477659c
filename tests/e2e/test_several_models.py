"""One server process with several models, one of them from a models file."""

import base64
import io
from collections.abc import Iterator

import pytest
import requests
from PIL import Image

from tests.e2e.servers import Server
from tests.unit.engine.tiny_checkpoint import write_tiny_checkpoint

MODELS_FILE = """
[models.quick]
source = "weights/tiny"
defaults = { num_inference_steps = 2, width = 64, height = 64 }
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("several")
    write_tiny_checkpoint(folder / "weights" / "tiny")
    (folder / "models.toml").write_text(MODELS_FILE)
    server = Server(folder, command=("-m", "danqing", "serve", "--model", "weights/tiny", "--model", "quick"))
    server.settings["DANQING_MODELS"] = "sample"  # which the options go before
    server.start_ready()
    yield server
    assert server.process is not None
    server.process.terminate()
    server.process.wait(60)


def picture(server: Server, **fields: object) -> Image.Image:
    """As PNG, with its parameters."""
    body = {"prompt": "a red apple", "seed": 3, "size": "64x64", **fields}
    answer = requests.post(f"{server.url}/v1/images/generations", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"])))


def test_each_model_is_made_pictures_with_by_its_id(server: Server) -> None:
    own_steps = picture(server).info["parameters"]
    quick = picture(server, model="quick")

    assert "Steps: 9" in own_steps
    assert picture(server, model="tiny").info["parameters"] == own_steps
    assert "Steps: 2" in quick.info["parameters"]
    # The options name all that is served
    refused = requests.post(
        f"{server.url}/v1/images/generations", json={"prompt": "a red apple", "model": "sample"}, timeout=60
    )
    assert refused.json()["error"]["code"] == "model_not_found"
    entries = requests.get(f"{server.url}/v1/models", timeout=60).json()["data"]
    assert [entry["id"] for entry in entries][:2] == ["tiny", "quick"]


def test_a_start_tells_every_model(server: Server) -> None:
    assert "  model     tiny (tiny)" in server.summary
    assert "            quick (quick)" in server.summary
