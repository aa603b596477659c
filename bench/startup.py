"""From process start to the first answer, the loaded model, the first 1024x1024 picture; and what memory it takes.

The reference is a bare process that imports diffusers, loads the same two checkpoints (of pictures from words, and of
edits) and saves the same native picture.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2
import psutil
from comparison import Findings, Spread, over_rounds
from served import child, server

from danqing.engine.catalogue import Catalogue

SIDE = 128  # of a native picture
BARE = """
import sys, time, psutil, torch
from diffusers import QwenImageEditPlusPipeline, ZImagePipeline
pipeline = ZImagePipeline.from_pretrained(sys.argv[1], dtype=torch.float32)
# Without its processor of pictures, which needs a further package, and which this sample has of its own.
edits = QwenImageEditPlusPipeline.from_pretrained(sys.argv[3], dtype=torch.float32, processor=None)
print(time.monotonic())
pipeline.set_progress_bar_config(disable=True)
pipeline("pizza", height=128, width=128, num_inference_steps=9, guidance_scale=0).images[0].save(sys.argv[2])
print(time.monotonic())
print(psutil.Process().memory_full_info().uss)
"""


def picture(url: str, side: int) -> None:
    """Over the turbo dialect."""
    with httpx2.Client(base_url=url, trust_env=False, timeout=60) as client:
        body = {"prompt": "pizza", "seed": 1, "width": side, "height": side}
        task_id = client.post("/api/generate", json=body).json()["data"]["task_id"]
        while client.get(f"/api/task/{task_id}").json()["data"]["status"] not in ("completed", "failed"):
            time.sleep(0.02)
        assert client.get(f"/api/result/{task_id}").headers["content-type"] == "image/png"


def memory_mb(process: psutil.Process) -> float:
    """That is its own, without what it shares with others."""
    return process.memory_full_info().uss / 1e6


def measure(quick: bool) -> dict[str, object]:
    """Each round a bare process, then a server."""
    source, source_of_edits = (card.source for card in Catalogue("sample").cards())
    names = (
        "bare_loaded",
        "bare_picture",
        "bare_mb",
        "answered",
        "ready",
        "picture",
        "large",
        "api_mb",
        "worker_mb",
        "large_mb",
    )
    took: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(1 if quick else 3):
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            command = [sys.executable, "-c", BARE, source, str(Path(folder, "picture.png")), source_of_edits]
            bare = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            for name, at in zip(("bare_loaded", "bare_picture"), bare, strict=False):
                took[name].append(float(at) - started)
            took["bare_mb"].append(float(bare[-1]) / 1e6)
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            with server(Path(folder)) as (url, answered_s, ready_s):
                picture(url, SIDE)
                took["picture"].append(time.perf_counter() - started)
                api = child(psutil.Process(), "-m danqing serve")
                worker = child(api, "spawn_main")
                took["worker_mb"].append(memory_mb(worker))
                picture(url, 1024)
                took["large"].append(time.perf_counter() - started)
                took["large_mb"].append(memory_mb(worker))
                took["api_mb"].append(memory_mb(api))
            took["answered"].append(answered_s)
            took["ready"].append(ready_s)
    return report({name: over_rounds(values) for name, values in took.items()}).as_dict()


def report(spreads: dict[str, Spread]) -> Findings:
    """Of Danqing beside the bare process, which also makes a picture."""
    found = Findings()
    found.figure("process start to the first answer", spreads["answered"], "s")
    found.figure("process start to the first 1024x1024 picture over HTTP", spreads["large"], "s")
    peer = "a bare process with diffusers"
    for what, own, theirs in (
        ("process start to the loaded model", "ready", "bare_loaded"),
        ("process start to the first native picture", "picture", "bare_picture"),
    ):
        found.compare(what, spreads[own], peer, spreads[theirs], "s", better="less")
    found.notes.append(
        "The bare process computes in float32, as diffusers does by itself. Danqing's model counts as loaded once it "
        "has made a small picture; its server is there by then, too."
    )
    found.figure("memory of the process that answers HTTP", spreads["api_mb"], "MB")
    own, theirs = spreads["worker_mb"], spreads["bare_mb"]
    found.compare("memory of the worker after the first native picture", own, peer, theirs, "MB", better="less")
    found.figure("memory of the worker after one of 1024x1024, enlarged", spreads["large_mb"], "MB")
    return found


if __name__ == "__main__":
    from report import told

    print("\n".join(told(measure(quick=False))))
