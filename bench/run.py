"""Runs the benchmarks of this folder, each in a process of its own, and prints what they found.

Without names the usual ones, which show every ratio that counts. What is found is kept in
`bench/results`, drawn in `bench/plots` and told in `docs/performance.md`; of --quick runs, which are there to see that
everything runs, nothing is kept.
"""

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from machine import BUSY_CORES, OthersMeter, machine
from report import FAILED, LEFT_OUT, told

HERE = Path(__file__).parent
RESULTS = HERE / "results"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """module: has `measure(quick)`. limit_s: after which it is ended, and said to have failed. usual: run without being
    named. abridged: which means quick then, where the whole takes long.
    """

    module: str
    what: str
    limit_s: float = 900.0
    usual: bool = False
    abridged: bool = False


BENCHMARKS = (
    Benchmark(module="overhead", what="A picture over HTTP beside the plain pipeline, sample model", usual=True),
    Benchmark(module="around_engine", what="What a service adds to its device, beside peers", usual=True),
    Benchmark(module="submits", what="Submits a second, beside peers", usual=True),
    Benchmark(module="first_progress", what="From submit to the first progress, beside peers", usual=True),
    Benchmark(module="fan_out", what="Events to 1,000 sockets, beside peers", usual=True),
    Benchmark(module="picture_fetches", what="Pictures fetched a second, beside peers", usual=True),
    Benchmark(module="encoding", what="PNG and WebP beside Pillow's defaults", usual=True),
    Benchmark(module="large_pictures", what="What large pictures cost others, beside peers", usual=True),
    Benchmark(module="startup", what="Start-up and memory beside a bare process", usual=True),
    Benchmark(module="cpu_engine", what="The engine on the CPU beside a diffusers loop", usual=True, abridged=True),
    Benchmark(module="gpu_engine", what="The engine on a GPU beside plain diffusers", usual=True, limit_s=7200),
    Benchmark(module="growth", what="How cost grows with what is stored and waits", usual=True, abridged=True),
    Benchmark(module="growth_whole", what="How cost grows, to a million jobs in the store", limit_s=3600),
    Benchmark(module="gpu_blocks", what="Parts of Z-Image-Turbo on a GPU, in several ways", limit_s=1200),
    Benchmark(module="claims", what="Claims a second of processes that take at once"),
    Benchmark(module="waiting_jobs", what="Calls of the queue with few and many jobs waiting"),
    Benchmark(module="scaled_overhead", what="Over several machines, beside one and bare Celery", limit_s=3600),
    Benchmark(module="capacity", what="Which part saturates first, of a thousand workers", limit_s=1200),
    Benchmark(module="pictures_s3", what="Pictures in a directory and in an object store"),
    Benchmark(module="studio_page", what="What the studio page costs a browser", limit_s=1200),
    Benchmark(module="upscaling", what="Four times enlarged: ncnn and torch", limit_s=1200),
    Benchmark(module="previews", what="What a preview after every step adds to it"),
    Benchmark(module="precision", what="Each precision beside the native one", limit_s=1200),
    Benchmark(module="step_cache", what="Step cache beside none"),
    Benchmark(module="cpu_attention", what="Attention on a CPU in bfloat16"),
    Benchmark(module="vae_format", what="Autoencoder, channels last or not"),
    Benchmark(module="one_frame", what="Qwen-Image's autoencoder in two dimensions, and in three"),
    Benchmark(module="soak", what="Ten thousand jobs: does anything grow?", limit_s=3600),
)


def run(benchmark: Benchmark, *, quick: bool) -> dict[str, Any]:
    """What it found, or under FAILED why it found nothing."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "found.json")
        command = [sys.executable, __file__, "--one", benchmark.module, str(out), *(["--quick"] if quick else [])]
        try:
            ended = subprocess.run(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=benchmark.limit_s
            )
        except subprocess.TimeoutExpired:
            return {FAILED: f"it took longer than {benchmark.limit_s:g} s"}
        if ended.returncode or not out.exists():
            lines = ended.stderr.strip().splitlines() or [f"it ended with status {ended.returncode}"]
            return {FAILED: lines[-1]}
        return json.loads(out.read_text())


def one(module: str, out: Path, *, quick: bool) -> None:
    """In the process of one benchmark."""
    out.write_text(json.dumps(importlib.import_module(module).measure(quick)))


def run_all(benchmarks: list[Benchmark], *, quick: bool, results: Path | None) -> int:
    """How many failed. Each is told as soon as it ends."""
    failed = 0
    here = machine()
    print("machine: " + ", ".join(f"{name} {value}" for name, value in here.items()))
    for benchmark in benchmarks:
        with OthersMeter() as others:
            found = run(benchmark, quick=quick or benchmark.abridged)
        busy = f"; other programs took {others.cores:.1f} cores" if others.cores > BUSY_CORES else ""
        print(f"\n{benchmark.module}: {benchmark.what} ({others.seconds:.0f} s{busy})", flush=True)
        if LEFT_OUT in found:
            print(f"  not measured here: {found[LEFT_OUT]}", flush=True)
            continue
        if FAILED in found:  # kept too: what was found before is not of this code
            failed += 1
            print(f"  could not be measured here: {found[FAILED]}", flush=True)
        else:
            print("\n".join(told(found)), flush=True)
        if results is not None:
            kept = {
                "seconds": round(others.seconds),
                "others_cores": round(others.cores, 2),
                "machine": here,
                "found": found,
            }
            keep(results / f"{benchmark.module}.json", benchmark, kept)
    return failed


def keep(file: Path, benchmark: Benchmark, kept: dict[str, Any]) -> None:
    """kept: what the page is written of beside the benchmark and the time."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    whole = {"benchmark": benchmark.module, "what": benchmark.what, "at": at, **kept}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(whole, indent=1) + "\n")


def main() -> None:
    """Prints one block a benchmark."""
    by_name = {benchmark.module: benchmark for benchmark in BENCHMARKS}
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], Path(sys.argv[3]), quick="--quick" in sys.argv)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="which; `all` is every one", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="name them, and what each shows")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it runs, not to quote")
    parser.add_argument("--results", type=Path, help="a folder for what is found, instead of bench/results")
    args = parser.parse_args()
    if args.list:
        for benchmark in BENCHMARKS:
            print(f"{benchmark.module:<18}{'' if benchmark.usual else 'by name: '}{benchmark.what}")
        return
    names = list(by_name) if args.names == ["all"] else args.names
    if unknown := set(names) - set(by_name):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; --list names them")
    chosen = [by_name[name] for name in names] or [benchmark for benchmark in BENCHMARKS if benchmark.usual]
    results = args.results or (None if args.quick else RESULTS)
    failed = run_all(chosen, quick=args.quick, results=results)
    if results == RESULTS:
        subprocess.run([sys.executable, str(HERE / "page.py")], check=True)
    if failed:
        raise SystemExit(f"{failed} could not be measured")


if __name__ == "__main__":
    main()
