"""From process start to the first answer, the loaded model, the first 1024x1024 picture; and what memory it takes.

The reference is a bare process that imports diffusers, loads the same checkpoint and makes the same native picture.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2
import psutil
from comparison import Findings, Spread, over_rounds
from served import server

from danqing.engine.catalogue import Catalogue

BARE = """
import sys, psutil, torch
from diffusers import ZImagePipeline
pipeline = ZImagePipeline.from_pretrained(sys.argv[1], dtype=torch.float32)
pipeline.set_progress_bar_config(disable=True)
pipeline("pizza", height=128, width=128, num_inference_steps=9, guidance_scale=0)
print(psutil.Process().memory_full_info().uss)
"""


def first_picture(url: str) -> None:
    """A 1024x1024 picture over the turbo dialect."""
    with httpx2.Client(base_url=url, trust_env=False, timeout=60) as client:
        task_id = client.post("/api/generate", json={"prompt": "pizza", "seed": 1}).json()["data"]["task_id"]
        while client.get(f"/api/task/{task_id}").json()["data"]["status"] not in ("completed", "failed"):
            time.sleep(0.02)
        assert client.get(f"/api/result/{task_id}").headers["content-type"] == "image/png"


def memory_mb(process: psutil.Process) -> float:
    """That is its own, without what it shares with others."""
    return process.memory_full_info().uss / 1e6


def of_server() -> tuple[psutil.Process, psutil.Process]:
    """The process that answers HTTP, and the one that has the model."""
    (api,) = [child for child in psutil.Process().children() if "danqing" in child.cmdline()]
    (worker,) = [child for child in api.children() if "spawn_main" in " ".join(child.cmdline())]
    return api, worker


def measure(quick: bool) -> dict[str, object]:
    """Each round a bare process, then a server."""
    source = Catalogue("sample").default().source
    names = ("bare", "bare_mb", "answered", "ready", "picture", "api_mb", "worker_mb")
    took: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(1 if quick else 3):
        started = time.perf_counter()
        bare = subprocess.run([sys.executable, "-c", BARE, source], check=True, capture_output=True, text=True)
        took["bare"].append(time.perf_counter() - started)
        took["bare_mb"].append(float(bare.stdout) / 1e6)
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            with server(Path(folder)) as (url, answered_s, ready_s):
                first_picture(url)
                took["picture"].append(time.perf_counter() - started)
                for name, process in zip(("api_mb", "worker_mb"), of_server(), strict=True):
                    took[name].append(memory_mb(process))
            took["answered"].append(answered_s)
            took["ready"].append(ready_s)
    return report({name: over_rounds(values) for name, values in took.items()}).as_dict()


def report(spreads: dict[str, Spread]) -> Findings:
    """Of Danqing beside the bare process, which also makes a picture."""
    found = Findings()
    found.figure("process start to the first answer", spreads["answered"], "s")
    found.figure("process start to the first 1024x1024 picture over HTTP", spreads["picture"], "s")
    peer = "a bare process with diffusers, and its first picture"
    what = "process start to the loaded model"
    found.compare(what, spreads["ready"], peer, spreads["bare"], "s", better="less")
    found.figure("memory of the process that answers HTTP", spreads["api_mb"], "MB")
    own, theirs = spreads["worker_mb"], spreads["bare_mb"]
    found.compare("memory of the worker with the model", own, peer, theirs, "MB", better="less", goal=None)
    return found


if __name__ == "__main__":
    from report import told

    print("\n".join(told(measure(quick=False))))
