"""Pictures that exist are enlarged: by a node that another machine's API process found, and by the real upscaler."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image

from danqing.engine.upscale.choice import BUNDLED, find_upscaler
from danqing.engine.upscale.real_esrgan import RealEsrgan
from tests.e2e.cluster import a_small_cluster
from tests.e2e.servers import Server, a_server, until


def enlarged(server: Server, picture: Image.Image) -> tuple[dict[str, Any], Image.Image]:
    """The job once it has ended, and what came of it."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    wanted = {"prompt": "a fox", "mode": "upscale"}
    parts = {"request": (None, json.dumps(wanted)), "input_image": ("fox.png", file.getvalue(), "image/png")}
    answer = requests.post(f"{server.url}/studio/batches", files=parts, timeout=30)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()["jobs"][0]

    def ended() -> bool:
        job.update(requests.get(f"{server.url}/studio/jobs/{job['id']}", timeout=30).json())
        return job["state"] in ("completed", "failed", "cancelled")

    until(ended, "the job has ended")
    assert job["state"] == "completed", job
    content = requests.get(server.url + job["pictures"]["original"]["url"], timeout=30).content
    return job, Image.open(io.BytesIO(content)).convert("RGB")


def test_a_node_enlarges_what_an_api_process_took_in(tmp_path: Path) -> None:
    with a_small_cluster(tmp_path) as cluster:
        api, node = cluster.api(), cluster.node()
        cluster.until_consuming(node)
        job, made = enlarged(api, Image.new("RGB", (30, 20), (9, 99, 199)))
        assert made.getcolors() == [(120 * 80, (9, 99, 199))]
        assert job["request"]["model"] == "upscaler"
        told = requests.get(f"{api.url}/studio/models", timeout=30).json()
        assert told["upscaler"] == {"factor": 4, "max_side": 2048}


def test_the_real_upscaler_keeps_to_the_picture(tmp_path: Path) -> None:
    # Given a picture with something to see on it
    picture = Image.radial_gradient("L").resize((72, 40)).convert("RGB")
    picture.paste((220, 40, 30), (10, 8, 34, 30))
    with a_server(tmp_path, command=("-m", "danqing", "serve")) as server:
        server.start_ready()
        _, made = enlarged(server, picture)
    # Then what came of it is what the upscaler makes of that picture, and of nothing else
    found = find_upscaler(BUNDLED)
    expected = RealEsrgan(found.path, name=found.name, threads=1).enlarge(np.asarray(picture))
    assert made.size == (288, 160)
    assert np.abs(np.asarray(made, np.int16) - expected).mean() < 1  # a GPU rounds otherwise
