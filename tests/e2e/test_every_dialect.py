"""The bundled model behind every dialect: each vendor's own examples end in pictures, on one server."""

import base64
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import requests
from PIL import Image

from tests.dialects.genserve import seed_document as genserve
from tests.dialects.live import seed_document as live
from tests.dialects.openai import seed_document as openai
from tests.dialects.sides import IS_SCALED
from tests.dialects.zimage import seed_document as zimage
from tests.e2e.cluster import InTurn, a_cluster
from tests.e2e.documented_examples import NODE, run_curl, run_node, run_python
from tests.e2e.servers import Server, a_server
from tests.services.ports import free_ports

SERVE = ("-m", "danqing", "serve", "--model", "sample", "--log-format", "json")
WORK = ("-m", "danqing", "worker", "--model", "sample", "--log-format", "json")
PATIENCE_S = 120
GENSERVE_CURLS = [script for script in genserve.blocks("bash") if "curl" in script]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the sample model that is ready; or, scaled, two API processes in turn, and two nodes."""
    if IS_SCALED:
        folder = tmp_path_factory.mktemp("sample")
        with a_cluster(folder, nodes=2, api_command=SERVE, node_command=WORK) as cluster:
            cluster.start()
            yield cast(Server, InTurn(cluster))
        return
    with a_server(tmp_path_factory.mktemp("sample"), command=SERVE) as server:
        server.start_ready()
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the pictures that the examples send."""
    for name in ("image.jpg", "input.jpg", "photo1.jpg", "photo2.jpg", "photo3.jpg", "input_image.png"):
        Image.new("RGB", (160, 128), "orange").save(tmp_path / name)
    mask = Image.new("L", (160, 128), 0)
    mask.paste(255, (40, 32, 120, 96))
    mask.save(tmp_path / "mask_image.png")
    return tmp_path


def checked(content: bytes, size: tuple[int, int] = (1024, 1024)) -> Image.Image:
    """The picture, if something is on it."""
    with Image.open(io.BytesIO(content)) as opened:
        image = opened.convert("RGB")
    assert image.size == size
    assert np.asarray(image).std() > 3
    return image


def get(server: Server, path: str) -> requests.Response:
    return requests.get(f"{server.url}{path}", timeout=PATIENCE_S)


@pytest.mark.parametrize("function", ["text2img_json_example", "img2img_form_example", "fill_form_example"])
def test_genserve_python(server: Server, folder: Path, function: str) -> None:
    before = set(folder.glob("*.png"))
    printed = run_python(f"{genserve.blocks('python')[0]}\n{function}()\n", server.url, folder)
    assert printed.startswith("图片已保存，耗时: ")
    (made,) = set(folder.glob("*.png")) - before
    checked(made.read_bytes())


@pytest.mark.parametrize("number", range(len(GENSERVE_CURLS)))
def test_genserve_curl(server: Server, folder: Path, number: int) -> None:
    printed = run_curl(GENSERVE_CURLS[number], server.url, folder)
    decoder, at, answers = json.JSONDecoder(), 0, list[dict[str, Any]]()
    while at < len(printed.rstrip()):
        value, at = decoder.raw_decode(printed, at)
        answers.append(value)
    for answer in answers:
        if "image_base64" in answer:
            assert answer["success"] is True
            checked(base64.b64decode(answer["image_base64"]))
        else:
            assert answer["concurrent_manager"]["alive_processes"] >= 1  # of several nodes each has one


def test_genserve_keeps_what_the_mask_keeps(server: Server, folder: Path) -> None:
    answer = requests.post(
        f"{server.url}/generate/img2img",
        data={"prompt": "pizza on a blue background", "mode": "fill", "num_inference_steps": 9, "cfg": 0},
        files={
            "input_image": (folder / "input_image.png").read_bytes(),
            "mask_image": (folder / "mask_image.png").read_bytes(),
        },
        timeout=PATIENCE_S,
    ).json()
    made = checked(base64.b64decode(answer["image_base64"]))
    assert made.getpixel((5, 5)) == (255, 165, 0)


def test_openai_curl(server: Server, folder: Path) -> None:
    for script, count in zip(openai.CURL, (1, 1, 6, 1), strict=True):
        answer = json.loads(run_curl(script, server.url, folder))
        assert answer["usage"]["generated_images"] == count == len(answer["data"])
        for datum in answer["data"]:
            checked(base64.b64decode(datum["b64_json"]))
            assert not any("img2img" in sentence for sentence in datum["adjustments"])  # the instruction is followed


def test_openai_python(server: Server, folder: Path) -> None:
    printed = run_python(openai.PYTHON, server.url, folder)
    assert "输出: 4 张图像" in printed
    assert len(list(folder.glob("output_*.jpg"))) == 4


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_live_javascript(server: Server, folder: Path) -> None:
    printed = run_node(live.JAVASCRIPT[-1], server.url, folder, until="图片就绪")
    assert [line for line in printed if line.startswith("进度: ")].count("进度: 100% (9/9)") == 1
    upscaled = printed[-1].split("/api/image/")[1]
    assert upscaled.endswith("-upscaled.png")
    checked(get(server, f"/api/image/{upscaled}").content, (4096, 4096))
    checked(get(server, f"/api/image/{upscaled.replace('-upscaled', '')}").content)


def test_zimage_from_request_to_history(server: Server) -> None:
    # Given the body that the document shows, twice, as a batch
    body = zimage.example("POST /v1/images/generate")
    batch_id = body["metadata"]["batch_id"]
    tasks: list[dict[str, Any]] = []
    for index in range(2):
        body["metadata"] |= {"batch_index": index, "batch_size": 2}
        tasks.append(requests.post(f"{server.url}/v1/images/generate", json=body, timeout=PATIENCE_S).json())
    # When both have ended
    deadline = time.monotonic() + PATIENCE_S
    for task in tasks:
        while (state := get(server, task["status_url"]).json())["status"] not in ("SUCCESS", "FAILURE"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        # Then each has a preview, and the picture itself
        assert state["status"] == "SUCCESS"
        preview = get(server, state["image_url"])
        assert preview.headers["content-type"] == "image/webp"
        checked(preview.content)
        checked(get(server, f"/generated-images/{state['result']['relative_path']}").content)
    # And the history shows them together
    entry = next(e for e in get(server, "/v1/history?limit=20&offset=0").json() if e["task_id"] == batch_id)
    assert (entry["status"], entry["batch_size"], entry["success_count"]) == ("SUCCESS", 2, 2)
    assert [item["index"] for item in get(server, f"/v1/history/{batch_id}").json()["items"]] == [0, 1]


def test_each_dialect_has_a_port_of_its_own_when_asked(tmp_path: Path) -> None:
    # Given free ports for all five
    names = ("turbo", "live", "genserve", "zimage", "openai")
    with a_server(
        tmp_path,
        command=SERVE,
        DANQING_LISTEN=",".join(f"{name}={port}" for name, port in zip(names, free_ports(len(names)), strict=True)),
    ) as server:
        server.start()
        ports = dict(part.split("=") for part in server.settings["DANQING_LISTEN"].split(","))
        own = {
            "turbo": "/health",
            "live": "/api/health",
            "genserve": "/status",
            "zimage": "/",
            "openai": "/v1/models",
        }
        # Then each answers its own paths there, and nobody else's
        for name, path in own.items():
            here = f"http://127.0.0.1:{ports[name]}"
            assert requests.get(f"{here}{path}", timeout=PATIENCE_S).status_code == 200, name
            for other in set(own.values()) - {path, "/health", "/"}:
                assert requests.get(f"{here}{other}", timeout=PATIENCE_S).status_code == 404, (name, other)
        assert requests.get(f"http://127.0.0.1:{ports['zimage']}/health", timeout=9).json()["status"] == "ok"
        assert requests.get(f"http://127.0.0.1:{ports['openai']}/health", timeout=9).json()["status"] == "healthy"
        # And all speak on the shared one
        assert all(requests.get(f"{server.url}{path}", timeout=9).status_code == 200 for path in own.values())
