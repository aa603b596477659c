"""From process start to the first answer, to the loaded model, and to the first 1024x1024 picture.

The reference is a bare process that imports diffusers, loads the same checkpoint and makes the same native picture.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2
from served import server

from danqing.engine.catalogue import Catalogue

BARE = """
import sys, torch
from diffusers import ZImagePipeline
pipeline = ZImagePipeline.from_pretrained(sys.argv[1], dtype=torch.float32)
pipeline.set_progress_bar_config(disable=True)
pipeline("pizza", height=128, width=128, num_inference_steps=9, guidance_scale=0)
"""


def first_picture(url: str) -> None:
    """A 1024x1024 picture over the turbo dialect."""
    with httpx2.Client(base_url=url, trust_env=False, timeout=60) as client:
        task_id = client.post("/api/generate", json={"prompt": "pizza", "seed": 1}).json()["data"]["task_id"]
        while client.get(f"/api/task/{task_id}").json()["data"]["status"] not in ("completed", "failed"):
            time.sleep(0.02)
        assert client.get(f"/api/result/{task_id}").headers["content-type"] == "image/png"


def measure(rounds: int) -> dict[str, float]:
    """Seconds, medians over the rounds, each beside a bare process."""
    source = Catalogue("sample").default().source
    bare, answered, ready, picture = [], [], [], []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", BARE, source], check=True, capture_output=True)
        bare.append(time.perf_counter() - started)
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            with server(Path(folder)) as (url, answered_s, ready_s):
                first_picture(url)
                picture.append(time.perf_counter() - started)
            answered.append(answered_s)
            ready.append(ready_s)
    p50 = {
        "bare_process_to_native_picture_s": statistics.median(bare),
        "server_to_first_answer_s": statistics.median(answered),
        "server_to_model_loaded_s": statistics.median(ready),
        "server_to_first_1024_picture_s": statistics.median(picture),
    }
    p50["model_loaded_over_bare_process"] = p50["server_to_model_loaded_s"] / p50["bare_process_to_native_picture_s"]
    return {"rounds": rounds, **{name: round(value, 3) for name, value in p50.items()}}


if __name__ == "__main__":
    print(measure(3))
