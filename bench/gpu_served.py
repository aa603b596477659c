"""`danqing serve` with a model of random weights: from the submit to the PNG in hand, and how busy the device is.

As a program it is that server: `python gpu_served.py FOLDER DATA_DIR PORT DEVICE WAY`.
"""

import dataclasses
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import psutil
from served import free_port, running

from danqing.cli.options import settings_from
from danqing.cli.serve import run_server
from danqing.core.capabilities import Precision
from danqing.core.engine_port import Observer, Outcome, ReadImage
from danqing.core.types import GenerationRequest, LatentPicture, RawPicture
from danqing.engine.known_models import KnownModels
from danqing.engine.spec import EngineSpec
from danqing.workers.factory import EngineFactory

if TYPE_CHECKING:  # the server's own process needs none of it
    import torch

CLIENTS = 4
BUSY_SHARE = 0.97  # of the device's time, with so many clients
READY_DEADLINE_S = 1800.0
POLL_S = 0.002
BUSY_FILE = "busy"  # in the data directory, a line a picture: when the engine was called for it, and when it was there


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way:
    """How the model is served. goal_ms: HTTP in to PNG out, of Z-Image-Turbo on an H100."""

    name: str
    precision: Precision = "native"
    compile: bool = False
    goal_ms: float | None = None


WAYS = (
    Way(name="bf16", goal_ms=820),
    Way(name="bf16_compiled", compile=True, goal_ms=820),
    Way(name="fp8_compiled", precision="torchao-fp8", compile=True, goal_ms=620),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Served:
    """What a worker is to build."""

    folder: Path
    device: str
    way: Way
    busy_file: Path


class WatchedEngine:
    """The engine itself, which writes down when its device was at work. An `Engine`."""

    def __init__(self, served: Served) -> None:
        from danqing.engine.build import build_engine

        card = dataclasses.replace(KnownModels().find(str(served.folder)), precision=served.way.precision)
        dtype = "bfloat16" if served.device == "cuda" else "float32"
        self._engine = build_engine(
            EngineSpec(cards=(card,), device=served.device, dtype=dtype, compile=served.way.compile)
        )
        self._served = served

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  the rest of the engine
        return getattr(self._engine, name)

    def load(self) -> None:
        """With weights made on the device."""
        import torch
        from random_models import random_weights

        with random_weights(torch.device(self._served.device)):
            self._engine.load()

    def denoise(
        self, requests: Sequence[GenerationRequest], *, read_image: ReadImage, observers: Sequence[Observer]
    ) -> Sequence[Outcome]:
        """See `Engine`. The device is idle between a picture that is on the host and the next call."""
        began = time.time()
        outcomes = self._engine.denoise(requests, read_image=read_image, observers=observers)
        return [self._noted(outcome, began) for outcome in outcomes]

    def _noted(self, outcome: Outcome, began: float) -> Outcome:
        if not isinstance(outcome, LatentPicture):
            self._was_busy(began)
            return outcome

        def computed() -> RawPicture:
            try:
                return outcome.computed()
            finally:
                self._was_busy(began)

        return dataclasses.replace(outcome, compute=computed)

    def _was_busy(self, began: float) -> None:
        with self._served.busy_file.open("a") as file:
            file.write(f"{began} {time.time()}\n")


def measure_served(
    folder: Path, *, way: Way, side: int, steps: int, device: "torch.device", rounds: int
) -> dict[str, Any]:
    """A client alone, then several that ask for the next picture once they have one; no two prompts are equal."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as data, _server(folder, Path(data), device, way) as url:
        body = {"width": side, "height": side, "num_inference_steps": steps}
        with httpx2.Client(base_url=url, trust_env=False, timeout=600) as client:
            alone = [_picture(client, body | _request(seed)) for seed in range(rounds + 1)][1:]
        figures["served_alone_p50_ms"] = round(1000 * statistics.median(alone), 2)
        with _smi_samples(device) as samples:
            began = time.time()
            with ThreadPoolExecutor(CLIENTS) as pool:
                each = list(pool.map(lambda number: _closed_loop(url, body, number, 2 * rounds), range(CLIENTS)))
            ended = time.time()
        latencies = [seconds for of_client in each for seconds in of_client]
        figures["served_clients"] = CLIENTS
        figures["served_pictures_per_s"] = round(len(latencies) / (ended - began), 3)
        figures["served_p50_ms"] = round(1000 * statistics.median(latencies), 2)
        figures["served_engine_call_share"] = round(_busy_s(Path(data, BUSY_FILE), began, ended) / (ended - began), 4)
        if samples:
            figures["served_nvidia_smi_busy_share"] = round(statistics.mean(samples) / 100, 4)
    figures["served_nvidia_smi_busy_share_goal_least"] = BUSY_SHARE
    if way.goal_ms is not None:
        figures["served_alone_p50_ms_goal_most"] = way.goal_ms
    return {name.replace("served", f"served_{way.name}", 1): value for name, value in figures.items()}


def _request(seed: int) -> dict[str, object]:
    return {"prompt": f"a lighthouse at dusk, number {seed}", "seed": seed}


def _picture(client: httpx2.Client, body: dict[str, object]) -> float:
    """Seconds until its PNG is there."""
    started = time.perf_counter()
    task_id = client.post("/api/generate", json=body).json()["data"]["task_id"]
    while (status := client.get(f"/api/task/{task_id}").json()["data"]["status"]) != "completed":
        if status == "failed":
            raise RuntimeError("the job failed")
        time.sleep(POLL_S)
    client.get(f"/api/result/{task_id}").raise_for_status()
    return time.perf_counter() - started


def _closed_loop(url: str, body: dict[str, object], number: int, pictures: int) -> list[float]:
    with httpx2.Client(base_url=url, trust_env=False, timeout=600) as client:
        return [_picture(client, body | _request(1000 * (number + 1) + i)) for i in range(pictures)]


def _busy_s(file: Path, began: float, ended: float) -> float:
    """Within that time. A call begins while the picture of the one before is on its way."""
    calls = sorted(tuple(map(float, line.split())) for line in file.read_text().splitlines())
    busy_s, reached = 0.0, began
    for since, until in calls:
        busy_s += max(0.0, min(until, ended) - max(since, reached))
        reached = max(reached, min(until, ended))
    return busy_s


@contextmanager
def _smi_samples(device: "torch.device") -> Generator[list[float]]:
    """What nvidia-smi says ten times a second, filled while it runs; empty where there is no such program."""
    samples: list[float] = []
    if device.type != "cuda":
        yield samples
        return
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-i", "0", "-lms", "100"]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    except OSError:
        yield samples
        return
    reader = threading.Thread(target=lambda: samples.extend(map(float, process.stdout or ())))
    reader.start()
    try:
        yield samples
    finally:
        process.terminate()
        process.wait()
        reader.join()


@contextmanager
def _server(folder: Path, data: Path, device: "torch.device", way: Way) -> Generator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, str(Path(__file__).resolve()), str(folder), str(data), str(port), device.type, way.name]
    with running(command, data) as process:
        _wait(url, data, process)
        yield url


def _wait(url: str, data: Path, process: psutil.Process) -> None:
    """Until its model is loaded, and compiled, which takes minutes; or the server has ended."""
    deadline = time.monotonic() + READY_DEADLINE_S
    while time.monotonic() < deadline and process.status() != psutil.STATUS_ZOMBIE:
        with suppress(httpx2.TransportError):
            if httpx2.get(f"{url}/health", trust_env=False, timeout=60).json()["data"]["model_loaded"]:
                return
        time.sleep(0.2)
    raise RuntimeError("the server did not become ready: " + (data / "log").read_text()[-2000:])


def main() -> None:
    """Runs until a signal."""
    folder, data, port, device, name = sys.argv[1:]
    (way,) = (way for way in WAYS if way.name == name)
    served = Served(folder=Path(folder), device=device, way=way, busy_file=Path(data, BUSY_FILE))
    settings = settings_from(model=folder, data_dir=Path(data), port=int(port))
    run_server(settings, engine=EngineFactory(target="gpu_served:WatchedEngine", argument=served))


if __name__ == "__main__":
    main()
