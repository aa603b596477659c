"""What Danqing adds to a picture: HTTP submit to PNG in hand, beside the plain diffusers call in the same run.

Each round makes the same request three ways, in turn: the bare pipeline call (`ZImagePipeline.__call__`, prompt encoded
every time, saved as PNG) in a process of its own, in Danqing's number format and with as many threads as torch takes by
itself; the engine alone in this process, which remembers the prompt; and the server from `POST
/v1/images/generations` until the PNG of its answer is there. The picture is of the model's native size, so no
enlargement blurs the sum.
"""

import base64
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
from comparison import Findings, Goal, over_requests
from cpu_engine import Load, PlainLoop
from served import server

from danqing.core.engine_port import Unwatched
from danqing.core.images import ImageRef
from danqing.core.resolve import resolve
from danqing.core.types import ArtifactKind, RequestDraft
from danqing.engine.build import build_engine
from danqing.engine.catalogue import Catalogue
from danqing.engine.device import choose_device
from danqing.engine.spec import EngineSpec

PROMPT = "pizza on a blue background"
SIDE = 128
STEPS = 9
GOAL = Goal(bound=10.0, kind="at most")  # milliseconds, the median


def over_http(client: httpx2.Client, seed: int) -> bytes:
    """One picture as a client gets it, in the answer to its request."""
    body = {"prompt": PROMPT, "size": f"{SIDE}x{SIDE}", "num_inference_steps": STEPS, "seed": seed}
    answer = client.post("/v1/images/generations", json=body)
    answer.raise_for_status()
    return base64.b64decode(answer.json()["data"][0]["b64_json"])


def no_image(ref: ImageRef) -> bytes:
    """The pictures here begin with no other."""
    raise AssertionError(ref)


def timed(make: Callable[[int], object], seed: int) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    make(seed)
    return (time.perf_counter() - started) * 1e3


def measure(quick: bool) -> dict[str, object]:
    """The three ways in turn."""
    return report(compared(10 if quick else 60)).as_dict()


def compared(rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each way, by round."""
    catalogue = Catalogue("sample")
    card = catalogue.default()
    engine = build_engine(EngineSpec(cards=(card,), device="cpu"))
    engine.load()

    def alone(seed: int) -> None:
        draft = RequestDraft(prompt=PROMPT, width=SIDE, height=SIDE, num_inference_steps=STEPS, seed=seed)
        request = resolve(draft, card)
        (raw,) = engine.denoise([request], read_image=no_image, observers=[Unwatched()])
        assert raw is not None
        engine.encode(engine.finish(raw, request, read_image=no_image), request, ArtifactKind.ORIGINAL)

    times: dict[str, list[float]] = {"plain": [], "engine": [], "http": []}
    load = Load(jobs=1, goal=1.0, side=SIDE)
    with (
        tempfile.TemporaryDirectory() as folder,
        PlainLoop(str(choose_device("cpu", "auto").dtype).removeprefix("torch.")) as plain,
        server(Path(folder)) as (url, _, _),
        httpx2.Client(base_url=url, trust_env=False) as client,
    ):
        ways: dict[str, Callable[[int], object]] = {
            "plain": lambda seed: plain.seconds(load, seed),
            "engine": alone,
            "http": lambda seed: over_http(client, seed),
        }
        for seed in range(3 + rounds):
            for name, make in ways.items():
                took = timed(make, seed)
                if seed >= 3:  # the first ones warm up
                    times[name].append(took)
    return times


def report(times: dict[str, list[float]]) -> Findings:
    """Differences are those of the same round."""
    found = Findings(
        notes=["Plain diffusers encodes the prompt each time; the engine remembers the one of all rounds."]
    )
    http = over_requests(times["http"])
    found.compare("a picture", http, "plain diffusers", over_requests(times["plain"]), "ms", better="less")
    found.compare("a picture", http, "the engine alone", over_requests(times["engine"]), "ms", better="less", goal=None)
    above = [http_ms - engine_ms for http_ms, engine_ms in zip(times["http"], times["engine"], strict=True)]
    found.figure("over HTTP above the engine alone", over_requests(above), "ms", goal=GOAL)
    return found


if __name__ == "__main__":
    from report import told

    print("\n".join(told(measure(quick=False))))
