"""Pictures a second of the sample model on the CPU: Danqing's server beside a plain diffusers loop, in one run.

A round gives 1, 4 or 16 jobs at once, to each in turn: to the server over HTTP (it is timed from the first submit until
the last picture is stored; the first job begins before the others are there), and to a process that calls
`ZImagePipeline` for one after another and saves PNG files, as a script does that somebody writes in an afternoon. Every
job has a prompt of its own; with `same_prompt` all of a round have one. `one_request` is OpenAI's `n`: one request for
all of them, until it is answered. `enlarged` are pictures four times as large as the model makes them, for which the
loop calls the same upscaler. The loop computes as diffusers does unless it is told otherwise: in float32, with as many
threads as torch takes by itself, which is a thread a core. `same_format_ratio` is that to a second loop, in the number
format that Danqing takes on this machine. Danqing leaves a core to what is not torch's.
Of the rounds medians count, of ratios those within a round, and the order changes from round to round. Seconds of
processor time (all processes of each) say what a machine that is busy with other things does not blur as much.

    python bench/cpu_engine.py [--quick] [--threads N]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

import httpx2
import psutil
from served import server

from danqing.engine.device import choose_device, default_cpu_threads

SIDE, ENLARGED_SIDE = 128, 512  # pixels
STEPS = 9
PROMPT = "pizza on a blue background"
POLL_S = 0.01
GOAL = 2.0  # times the loop's pictures a second, with many waiting
GOAL_ALONE = 1.0
WARM_UP_JOBS = 4
NOTES = (
    "By jobs that wait at once; the first begins before the others are there. *same prompt*: all have one, and else "
    "each its own; *one request*: OpenAI's `n`; *enlarged*: four times, by the same upscaler in both.",
    "The plain loop is diffusers as it comes, in float32, and its ratio is the one that goals are for. *same format "
    "ratio* is to a second loop in the number format above, which leaves what batches, the prompt cache and finishing "
    "beside the next batch give; *cpu ratio* compares processor time of all processes of each.",
)
DANQING, PLAIN, SAME_FORMAT = "danqing", "plain", "same_format"


@dataclass(frozen=True, kw_only=True)
class Load:
    """What waits at once. goal: of pictures a second beside the loop's."""

    jobs: int
    goal: float
    side: int = SIDE
    same_prompt: bool = False
    one_request: bool = False  # of the same prompt

    @property
    def name(self) -> str:
        """For figures."""
        kind = "_one_request" if self.one_request else "_same_prompt" if self.same_prompt else ""
        return f"{self.jobs}_waiting" + kind + "_enlarged" * (self.side > SIDE)

    def prompts(self, first: int) -> list[str]:
        """first: number of the first job; no two rounds have one in common."""
        return [f"{PROMPT} {first if self.same_prompt else first + i}" for i in range(self.jobs)]


LOADS = (
    Load(jobs=1, goal=GOAL_ALONE),
    Load(jobs=4, goal=GOAL),
    Load(jobs=4, goal=GOAL, same_prompt=True, one_request=True),
    Load(jobs=16, goal=GOAL),
    Load(jobs=16, goal=GOAL, same_prompt=True),
    Load(jobs=4, goal=GOAL_ALONE, side=ENLARGED_SIDE),
)


@dataclass
class Times:
    """Seconds of each round: of the clock, and of processors."""

    taken_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


def measure(quick: bool = False, *, threads: int | None = None) -> dict[str, object]:
    """Starts both and gives each load to them in turn: pictures a second of both, the ratio, its spread, its goal."""
    threads = threads or default_cpu_threads()
    rounds = 3 if quick else 7
    dtype = str(choose_device("cpu", "auto").dtype).removeprefix("torch.")
    times = {(load.name, way): Times() for load in LOADS for way in (DANQING, PLAIN, SAME_FORMAT)}
    with (
        tempfile.TemporaryDirectory() as folder,
        PlainLoop("float32") as loop,
        PlainLoop(dtype) as alike,
        set_threads(threads),
        server(Path(folder)) as (url, _, _),
        httpx2.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        house = [each for each in psutil.Process().children(recursive=True) if each.pid not in (loop.pid, alike.pid)]
        first = 0
        for number in range(rounds + 1):
            for load in LOADS if number else [load for load in LOADS if load.jobs <= WARM_UP_JOBS]:
                ways: list[tuple[str, Sequence[psutil.Process], Callable[[Load, int], float]]] = [
                    (DANQING, house, partial(served_s, client)),
                    (PLAIN, [psutil.Process(loop.pid)], loop.seconds),
                    (SAME_FORMAT, [psutil.Process(alike.pid)], alike.seconds),
                ]
                for way, processes, make in ways if number % 2 else ways[::-1]:
                    before = _cpu_s(processes)
                    taken_s = make(load, first)
                    if number:  # the first round warms up
                        times[load.name, way].taken_s.append(taken_s)
                        times[load.name, way].cpu_s.append(_cpu_s(processes) - before)
                first += load.jobs
    figures: dict[str, object] = {"threads": threads, "rounds": rounds, "number_format": dtype, "notes": [*NOTES]}
    for load in LOADS:
        danqing, plain, same = (times[load.name, way] for way in (DANQING, PLAIN, SAME_FORMAT))
        figures |= _figures(load, danqing, plain)
        ratios = [theirs / own for own, theirs in zip(danqing.taken_s, same.taken_s, strict=True)]
        figures[f"{load.name}_same_format_ratio"] = round(statistics.median(ratios), 3)
    return figures


def _cpu_s(processes: Sequence[psutil.Process]) -> float:
    """That they have used so far."""
    used = [process.cpu_times() for process in processes]
    return sum(each.user + each.system for each in used)


def _figures(load: Load, danqing: Times, plain: Times) -> dict[str, float]:
    ratios = [theirs / own for own, theirs in zip(danqing.taken_s, plain.taken_s, strict=True)]
    cpu = [theirs / own for own, theirs in zip(danqing.cpu_s, plain.cpu_s, strict=True)]
    figures = {
        "pictures_per_s": load.jobs / statistics.median(danqing.taken_s),
        "plain_pictures_per_s": load.jobs / statistics.median(plain.taken_s),
        "ratio": statistics.median(ratios),
        "ratio_least": min(ratios),
        "ratio_most": max(ratios),
        "goal_ratio": load.goal,
        "cpu_ms_a_picture": 1000 * statistics.median(danqing.cpu_s) / load.jobs,
        "plain_cpu_ms_a_picture": 1000 * statistics.median(plain.cpu_s) / load.jobs,
        "cpu_ratio": statistics.median(cpu),
    }
    return {f"{load.name}_{name}": round(value, 3) for name, value in figures.items()}


@contextmanager
def set_threads(threads: int) -> Generator[None]:
    """For the server that is started inside."""
    name = "DANQING_CPU_THREADS"
    before = os.environ.get(name)
    os.environ[name] = str(threads)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def served_s(client: httpx2.Client, load: Load, first: int) -> float:
    """From the first submit until all are stored."""
    if load.one_request:
        return _answered_s(client, load, first)
    body = {"width": load.side, "height": load.side, "num_inference_steps": STEPS}
    started = time.perf_counter()
    waiting = [
        client.post("/api/generate", json=body | {"prompt": prompt, "seed": first + i}).json()["data"]["task_id"]
        for i, prompt in enumerate(load.prompts(first))
    ]
    while waiting:
        status = client.get(f"/api/task/{waiting[0]}").json()["data"]["status"]
        if status == "failed":
            raise RuntimeError("a job failed")
        if status == "completed":
            waiting.pop(0)
        else:
            time.sleep(POLL_S)
    return time.perf_counter() - started


def _answered_s(client: httpx2.Client, load: Load, first: int) -> float:
    started = time.perf_counter()
    size, (prompt, *_) = f"{load.side}x{load.side}", load.prompts(first)
    body = {"prompt": prompt, "n": load.jobs, "size": size, "response_format": "url"}
    answer = client.post("/v1/images/generations", json=body)
    answer.raise_for_status()
    if len(answer.json()["data"]) != load.jobs:
        raise RuntimeError("not as many pictures as were asked for")
    return time.perf_counter() - started


class PlainLoop:
    """The loop, in a process of its own that loads the model once and then waits to be told what to make."""

    def __init__(self, dtype: str) -> None:
        self._command = [sys.executable, __file__, "--loop", "--dtype", dtype]

    def __enter__(self) -> "PlainLoop":
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        self.pid = self._process.pid
        self._told: IO[str] = self._process.stdin  # type: ignore[assignment]
        self._answers: IO[str] = self._process.stdout  # type: ignore[assignment]
        if self._answers.readline() != "ready\n":
            raise RuntimeError("the diffusers loop did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._told.close()
        self._process.wait(30)

    def seconds(self, load: Load, first: int) -> float:
        """Until all of them are saved."""
        self._told.write(json.dumps({"prompts": load.prompts(first), "seed": first, "side": load.side}) + "\n")
        self._told.flush()
        if not (answer := self._answers.readline()):
            raise RuntimeError("the diffusers loop ended")
        return float(answer)


def run_loop(dtype: str, tasks: IO[str]) -> None:
    """dtype: its name in torch. tasks: one a line, as `PlainLoop.seconds` writes them. Prints the seconds of each."""
    import numpy as np
    import torch
    from diffusers import ZImagePipeline

    from danqing.engine.catalogue import Catalogue
    from danqing.engine.device import choose_device
    from danqing.engine.upscale.building import build_upscaler
    from danqing.engine.upscale.choice import BUNDLED

    pipeline = ZImagePipeline.from_pretrained(Catalogue("sample").default().source, dtype=getattr(torch, dtype))
    pipeline.set_progress_bar_config(disable=True)
    upscaler = build_upscaler(BUNDLED, choose_device("cpu", "float32"), cpu_threads=1)
    print("ready", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for line in tasks:
            task = json.loads(line)
            started = time.perf_counter()
            for i, prompt in enumerate(task["prompts"]):
                generator = torch.Generator().manual_seed(task["seed"] + i)
                image = pipeline(
                    prompt,
                    height=SIDE,
                    width=SIDE,
                    num_inference_steps=STEPS,
                    guidance_scale=0,
                    generator=generator,
                ).images[0]
                if task["side"] > SIDE:
                    image = _enlarged(np.asarray(image), upscaler)
                image.save(Path(folder, f"{i}.png"))
            print(time.perf_counter() - started, flush=True)


def _enlarged(rgb, upscaler):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  numpy and Pillow are the loop's own
    from PIL import Image

    return Image.fromarray(upscaler.enlarge(rgb, on_part=lambda part, parts: None))


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--threads", type=int, help="of Danqing (as many as it takes by itself)")
    parser.add_argument("--loop", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--dtype", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.loop:
        run_loop(args.dtype, sys.stdin)
    else:
        print(json.dumps(measure(args.quick, threads=args.threads), indent=2))


if __name__ == "__main__":
    main()
