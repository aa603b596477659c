"""What Danqing adds to a picture: HTTP submit to PNG in hand, beside the plain diffusers call in the same run.

Each round makes the same request three ways, in turn: the bare pipeline call (`ZImagePipeline.__call__`, to a PIL
picture, prompt encoded every time); the engine alone in this process; and the server from `POST /api/generate` until
the PNG of `GET /api/result/…` is read. The picture is of the model's native size, so no enlargement blurs the sum.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import torch
from diffusers import ZImagePipeline
from served import server

from danqing.core.engine_port import Unwatched
from danqing.core.images import ImageRef
from danqing.core.resolve import resolve
from danqing.core.types import ArtifactKind, RequestDraft
from danqing.engine.build import build_engine
from danqing.engine.catalogue import Catalogue
from danqing.engine.spec import EngineSpec

PROMPT = "pizza on a blue background"
SIDE = 128
STEPS = 9
POLL_S = 0.001


def over_http(client: httpx2.Client, seed: int) -> bytes:
    """One picture as a client gets it."""
    body = {"prompt": PROMPT, "width": SIDE, "height": SIDE, "num_inference_steps": STEPS, "seed": seed}
    task_id = client.post("/api/generate", json=body).json()["data"]["task_id"]
    while (status := client.get(f"/api/task/{task_id}").json()["data"]["status"]) != "completed":
        if status == "failed":
            raise RuntimeError("the job failed")
        time.sleep(POLL_S)
    return client.get(f"/api/result/{task_id}").content


def no_image(ref: ImageRef) -> bytes:
    """The pictures here begin with no other."""
    raise AssertionError(ref)


def timed(make: Callable[[int], object], seed: int) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    make(seed)
    return (time.perf_counter() - started) * 1e3


def measure(rounds: int) -> dict[str, float]:
    """Runs the three ways in turn and prints what each took; returns the figures in milliseconds and ratios."""
    catalogue = Catalogue("sample")
    card = catalogue.default()
    pipeline = ZImagePipeline.from_pretrained(card.source, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    engine = build_engine(EngineSpec(cards=(card,), device="cpu"))
    engine.load()

    def plain(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        pipeline(PROMPT, height=SIDE, width=SIDE, num_inference_steps=STEPS, guidance_scale=0, generator=generator)

    def alone(seed: int) -> None:
        draft = RequestDraft(prompt=PROMPT, width=SIDE, height=SIDE, num_inference_steps=STEPS, seed=seed)
        request = resolve(draft, card)
        (raw,) = engine.denoise([request], read_image=no_image, observers=[Unwatched()])
        assert raw is not None
        engine.encode(engine.finish(raw, request, read_image=no_image), request, ArtifactKind.ORIGINAL)

    times: dict[str, list[float]] = {"plain": [], "engine": [], "http": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        server(Path(folder)) as (url, _, _),
        httpx2.Client(base_url=url, trust_env=False) as client,
    ):
        ways = {"plain": plain, "engine": alone, "http": lambda seed: over_http(client, seed)}
        for seed in range(3 + rounds):
            for name, make in ways.items():
                took = timed(make, seed)
                if seed >= 3:  # the first ones warm up
                    times[name].append(took)
    above_plain = sorted(h - p for h, p in zip(times["http"], times["plain"], strict=True))
    above_engine = sorted(h - e for h, e in zip(times["http"], times["engine"], strict=True))
    p50 = {name: statistics.median(values) for name, values in times.items()}
    figures = {
        "rounds": rounds,
        "plain_pipeline_p50_ms": p50["plain"],
        "engine_p50_ms": p50["engine"],
        "http_p50_ms": p50["http"],
        "above_plain_pipeline_p50_ms": statistics.median(above_plain),
        "above_plain_pipeline_p90_ms": above_plain[int(0.9 * (rounds - 1))],
        "above_engine_p50_ms": statistics.median(above_engine),
        "above_engine_p90_ms": above_engine[int(0.9 * (rounds - 1))],
        "http_over_plain_pipeline": p50["http"] / p50["plain"],
        "http_over_engine": p50["http"] / p50["engine"],
    }
    return {name: round(value, 3) for name, value in figures.items()}


if __name__ == "__main__":
    print(measure(40))
