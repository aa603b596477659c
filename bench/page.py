"""Writes `docs/performance.md`, and its plots, from what is in `bench/results`. No figure there is typed by hand."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from machine import BUSY_CORES
from report import FAILED, LEFT_OUT, exponent, flat_goals, goal_of, is_bound, is_growth, values
from run import BENCHMARKS, RESULTS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "bench" / "plots"
HEAD = """# Performance

Written by `bench/page.py` from `bench/results/*.json`, which `make bench` fills; change neither by hand. Take the
figures again with

    make bench                      # the usual ones
    make bench ARGS="--list"        # what else there is, by name
    make bench ARGS="--quick"       # to see that everything runs; keeps nothing

Each benchmark starts Danqing and its peers itself, one after the other on the same cores, and every second round in the
opposite order. A **ratio** says how many times better Danqing is, whichever way better is: above 1 it is ahead. Rates
of a machine that does other things at the same time say little; ratios within one run, and processor time, say more.
Milliseconds are those of the machine, which was not the same on each day: where it is told how long a million turns of
a loop in Python took there, runs can be compared by that.

The peers are in `bench/peers`: a FastAPI server with one thread and everything in memory, the same with its jobs in
SQLite, FastAPI + Celery + Redis, and LitServe. They keep what their kind keeps. Danqing syncs each job and each picture
to disk before it tells anybody; of them only the one with SQLite does, unless it is said so: written as one would for a
single process, with a commit for each change while its event loop waits (with `synchronous=NORMAL`, which promises
nothing across a power cut, it would be nearer to the one in memory). The device of all of them is the same made-up one,
so that only what is around it counts.

## What to expect, and which settings matter

| you have | expect | settings |
|---|---|---|
| one device and a model | what the model takes for a picture, and a few milliseconds ([around_engine](#around_engine)); pictures are written beside the next one, so the device does not wait for that ([large_pictures](#large_pictures)) | `ENABLE_MODEL_COMPILE`, `DANQING_PRECISION`, `DANQING_ATTENTION`: [models.md](models.md#speed) |
| many small pictures waiting | two to three times as many as one after the other ([cpu_engine](#cpu_engine)) | `DANQING_BATCH_PICTURES`; on a large GPU with a small model `DANQING_WORKERS_PER_DEVICE` |
| only a processor | all cores but one compute; the last one finishes pictures | `DANQING_CPU_THREADS` |
| many clients | one process answers hundreds of requests a second and more ([submits](#submits), [picture_fetches](#picture_fetches), [fan_out](#fan_out)); accepted means on the disk, whatever is set | more API processes: [scaling.md](scaling.md), [capacity.md](capacity.md) |
| a long history | the same times with a million jobs as with ten ([growth](#growth)) | none; `DANQING_QUOTA_GB` costs what it counts |
"""  # noqa: E501


EXPONENT = "exponent"
GROWTH = """Microseconds a call, the quickest of up to 40, by how many there are of what is in brackets. The exponent
is that of n in the cost over the upper half of the sizes: 0 where it does not grow, 1 where ten times as many cost ten
times as much; below 0.2 it is no more than a logarithm's. What grows with that is asked for seldom: `bytes kept` where
`DANQING_QUOTA_GB` is set, once in half a minute for an owner and beside his submits, unless he keeps nearly all that
he may; or is so much more work: `an event` to all who watch, a picture by its bytes.
"""
DEFAULTS = """
What pays is the default:

- large models are compiled on a GPU (`DANQING_COMPILE_MODEL=auto`), the transformer's blocks for any size, the
  autoencoder's decoder for the model's usual one; with rotary embedding in real numbers and attention as one operation
- the device is not waited for where nothing depends on it, which is newer than the figures and not measured: with four
  clients it was idle for 50 ms of a picture's 837
- the autoencoder with its numbers in the order that is quicker, which is tried while the model loads; so are kernels
  for attention
- weights and numbers in bfloat16; fp8, int8 and SDNQ only where they are asked for, SDNQ without its own multiplication
- Real-ESRGAN in float16 with channels last, not compiled, in tiles of 512 pixels, by what others have measured
- batches of up to four pictures, together no larger than one of 1024x1024

torchao's own settings for compilers are left out: with them a block in fp8 took 67 seconds to compile instead of 14, to
no gain.
"""


def page(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Line by line."""
    yield HEAD
    yield from _goals(results)
    for kept in results:
        yield from _section(kept)
    yield from _not_measured(results)


def _goals(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """How many are met, and which are not."""
    judged = [(kept, what, told) for kept in results for what, told in _judged(kept["found"])]
    missed = [each for each in judged if not each[2]["goal"]["met"]]
    rest = " Those that are not:\n" if missed else ""
    yield f"## Goals\n\n{len(judged) - len(missed)} of {len(judged)} are met.{rest}"
    if missed:
        for kept, what, told in missed:
            value = told.get("ratio", told.get("value"))
            bound = goal_of(told).removesuffix(": missed")
            yield f"- {what}: {value:g}, {bound} ([{kept['benchmark']}](#{kept['benchmark']}))"
    yield ""


def _judged(found: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for figure in found.get("figures", ()):
        if "goal" in figure:
            yield figure["what"], figure
    for pair in found.get("comparisons", ()):
        if "goal" in pair:
            yield f"{pair['what']}, beside {pair['peer']}", pair
    for name, told in flat_goals(found).items():
        yield name.replace("_", " "), told | {"ratio": found[name]}


def _section(kept: Mapping[str, Any]) -> Iterator[str]:
    found, machine = kept["found"], kept["machine"]
    yield f'<a id="{kept["benchmark"]}"></a>\n\n## {kept["what"]}\n'
    gpu = f", {machine['gpu']} with PyTorch {machine['versions']['torch']}" if machine["gpu"] else ""
    pace = f", a million turns of a loop in {machine['loop_ms']:g} ms" if "loop_ms" in machine else ""
    pace += f", a page synced in {machine['sync_ms']:g} ms" if "sync_ms" in machine else ""
    commit = f", commit {machine['commit']}" if machine.get("commit") else ""
    yield (
        f"`bench/{kept['benchmark']}.py`, {kept['seconds']} s, on {kept['at'][:10]}: {machine['processor']}, "
        f"{machine['cores']} cores, {machine['memory_gb']} GB{gpu}, Python {machine['python']}{pace}{commit}."
    )
    if kept["others_cores"] > BUSY_CORES:
        yield (
            f"\n**Other programs took {kept['others_cores']:g} cores of this machine meanwhile**, so that even ratios "
            "are rough, and times above the device's mean nothing."
        )
    yield ""
    if FAILED in found:
        yield f"**It could not be measured**: {found[FAILED]}\n"
        return
    if "figures" in found:
        yield from _table(("", "value", "spread", "goal"), map(_figure_cells, found["figures"]))
    if "comparisons" in found:
        titles = ("", "Danqing", "peer", "", "ratio", "goal")
        yield from _table(titles, map(_pair_cells, found["comparisons"]))
    goals = flat_goals(found)
    flat = {name: value for name, value in found.items() if name not in ("figures", "comparisons", "notes")}
    if single := {name: value for name, value in flat.items() if not (isinstance(value, Mapping) or is_bound(name))}:
        cells = ((name.replace("_", " "), str(value), goal_of(goals.get(name, {}))) for name, value in single.items())
        yield from _table(("", "value", "goal"), cells)
    if any(map(is_growth, flat.values())):
        yield GROWTH
    for name, value in flat.items():
        if isinstance(value, Mapping):
            yield from _nested(name, value)
    for note in found.get("notes", ()):
        yield f"{note}\n"
    plots = (path for pattern in (".png", "-*.png") for path in PLOTS.glob(f"{kept['benchmark']}{pattern}"))
    for plot in sorted(plots):
        yield f"![{kept['what']}](../{plot.relative_to(ROOT)})\n"


def _figure_cells(figure: Mapping[str, Any]) -> Sequence[str]:
    value = f"{figure['value']:g} {figure['unit']}".rstrip()
    return figure["what"], value, values(figure.get("spread", {})), goal_of(figure)


def _pair_cells(pair: Mapping[str, Any]) -> Sequence[str]:
    unit = f", {pair['unit']}" if pair["unit"] else ""
    ratio = f"**{pair['ratio']:g}**"
    return (
        f"{pair['what']}{unit}",
        values(pair["danqing"]),
        pair["peer"],
        values(pair["peer_has"]),
        ratio,
        goal_of(pair),
    )


def _nested(name: str, value: Mapping[str, Any]) -> Iterator[str]:
    """A table where all rows have the same columns, else a list."""
    rows = {key: inner for key, inner in value.items() if isinstance(inner, Mapping)}
    yield f"{name}:\n"
    if rows and len(rows) == len(value):
        columns = list(dict.fromkeys(column for inner in rows.values() for column in inner))
        cells = [(key, *(str(inner.get(column, "")) for column in columns)) for key, inner in rows.items()]
        if is_growth(value):
            columns = [*sorted(columns, key=int), EXPONENT]
            cells = [(*row, f"{exponent(rows[row[0]]):.2f}") for row in cells]
        yield from _table(("", *columns), iter(cells))
    else:
        yield from _table(("", "value"), ((key, str(inner)) for key, inner in value.items()))


def _table(titles: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(titles) + " |"
    yield "|" + "---|" * len(titles)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""


def _not_measured(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    measured = {kept["benchmark"] for kept in results}
    yield "## Not measured\n"
    for benchmark in BENCHMARKS:
        if benchmark.module not in measured:
            when = "by `make bench`" if benchmark.usual else f'by name (`make bench ARGS="{benchmark.module}"`)'
            yield f"- {benchmark.what}: {when}, where it can run."
    yield "\nOn a GPU, of what `bench/gpu_engine.py` has:\n"
    on_a_gpu = next((kept["flat"] for kept in results if kept["benchmark"] == "gpu_engine"), {})
    yield from (f"- {each}" for each in _not_on_a_gpu(on_a_gpu))
    yield DEFAULTS


def _not_on_a_gpu(flat: Mapping[str, Any]) -> Iterator[str]:
    from gpu_engine import ALL_SETTINGS, CASES, WAYS  # which takes PyTorch, and seconds

    for case in CASES:
        missing = [each for each in ("plain", *ALL_SETTINGS) if f"{case.name}_{each}_total_ms" not in flat]
        if missing:
            yield f"{case.name}: {'all of it' if len(missing) > len(ALL_SETTINGS) else ', '.join(missing)}"
    if missing := [way.name for way in WAYS if f"served_{way.name}_alone_p50_ms" not in flat]:
        goals = (f" ({way.name}'s goal is {way.goal_ms:g} ms)" for way in WAYS if way.goal_ms and way.name in missing)
        yield f"from HTTP in to PNG out: {', '.join(missing)}{''.join(goals)}"
    if not any(name.startswith("x4plus") for name in flat):
        yield "Real-ESRGAN: eager, channels last and compiled"


def kept_results(folder: Path) -> list[dict[str, Any]]:
    """In the order in which they are run."""
    files = [folder / f"{benchmark.module}.json" for benchmark in BENCHMARKS]
    found = [json.loads(file.read_text()) for file in files if file.exists()]
    return [kept for kept in found if LEFT_OUT not in kept["found"]]


def main() -> None:
    """Both."""
    results = kept_results(RESULTS)
    try:
        from draw import drawn
    except ImportError:
        print("The plots are as they were: matplotlib is not installed (`make bench` installs it).")
    else:
        for kept in results:
            drawn(kept, PLOTS)
    PAGE.write_text("\n".join(page(results)).rstrip() + "\n")
    print(f"\n{PAGE.relative_to(ROOT)} and {PLOTS.relative_to(ROOT)} tell what was found.")


if __name__ == "__main__":
    main()
