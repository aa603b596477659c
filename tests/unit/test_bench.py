"""The runner of the benchmarks, what it keeps, and the page that is written of it."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType

import psutil
import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files import each other by their bare names, as scripts do."""
    monkeypatch.syspath_prepend(BENCH)


def module(name: str) -> ModuleType:
    return import_module(name)


def kept(name: str, found: Mapping[str, object]) -> dict[str, object]:
    machine = {"processor": "a CPU", "cores": 2, "memory_gb": 8, "gpu": None, "python": "3.11"}
    return {
        "benchmark": name,
        "what": f"What {name} shows",
        "at": "2026-01-02T03:04:05+00:00",
        "seconds": 3,
        "others_cores": 0.0,
        "machine": machine,
        "found": found,
    }


def found_by_pairs(bench: None) -> dict[str, object]:
    comparison = module("comparison")
    found = comparison.Findings(notes=["A note."])
    ours, theirs = comparison.over_rounds([1.0, 2.0, 3.0]), comparison.over_rounds([8.0, 6.0, 4.0])
    found.compare("taken", ours, "a peer", theirs, "ms", better="less")
    found.compare("done", ours, "a peer", theirs, "1/s", better="more")
    found.figure("lost", 0, "", goal=comparison.Goal(bound=0, kind="at most"))
    return json.loads(json.dumps(found.as_dict()))


def test_a_ratio_says_how_many_times_better_danqing_is(bench: None) -> None:
    taken, done = found_by_pairs(bench)["comparisons"]  # type: ignore[misc]

    assert (taken["ratio"], taken["goal"]["met"]) == (3.0, True)
    assert (done["ratio"], done["goal"]["met"]) == (0.3333, False)
    assert taken["peer_has"] == {"min": 4.0, "median": 6.0, "max": 8.0}


def test_percentiles_are_of_the_values_themselves(bench: None) -> None:
    values = [float(number) for number in range(1, 101)]

    assert module("comparison").over_requests(values).parts == {"p50": 51.0, "p99": 100.0}


def test_lines_show_a_pair_with_its_goal_and_single_figures_with_theirs(bench: None) -> None:
    told = module("report").told
    lines = "\n".join(
        [
            *told(found_by_pairs(bench)),
            *told(
                {"one_waiting_ratio": 1.5, "one_waiting_goal_ratio": 2.0, "late_ms": 9, "late_ms_goal_most": 10}
                | {"share": 0.9, "share_goal_least": 0.97}
            ),
        ]
    )

    assert "taken, ms (less is better)\n    danqing min 1, median 2, max 3\n    a peer min 4, median 6, max 8" in lines
    assert "ratio 3 [goal: at least 1: met]" in lines
    assert "ratio 0.3333 [goal: at least 1: missed]" in lines
    assert "1.5 [goal: at least 2: missed]" in lines
    assert "9 [goal: at most 10: met]" in lines
    assert "0.9 [goal: at least 0.97: missed]" in lines


def test_the_page_counts_goals_and_names_what_was_missed_and_what_was_not_measured(bench: None) -> None:
    page = module("page")
    growth = {"sqlite": {"submit": {"10": 1.0, "100": 2.0}}}
    text = "\n".join(page.page([kept("submits", found_by_pairs(bench)), kept("growth", growth)]))

    assert (
        "2 of 3 are met. Those that are not:\n\n- done, beside a peer: 0.3333, at least 1 ([submits](#submits))" in text
    )
    assert "| taken, ms | min 1, median 2, max 3 | a peer | min 4, median 6, max 8 | **3** | at least 1: met |" in text
    assert "|  | 10 | 100 | exponent |\n|---|---|---|---|\n| submit | 1.0 | 2.0 | 0.00 |" in text
    assert "- flux1-dev_1024_28_steps: all of it" in text
    assert "- from HTTP in to PNG out: bf16, bf16_compiled, fp8_compiled (bf16's goal is 820 ms)" in text
    assert "Submits a second, beside peers: by" not in text


def test_the_page_names_what_a_gpu_has_not_measured_yet(bench: None) -> None:
    engine = module("gpu_engine")
    case, other = engine.CASES[0].name, engine.CASES[1].name
    settings = ("plain", *engine.ALL_SETTINGS)
    flat = {f"{case}_{setting}_total_ms": 1.0 for setting in settings[2:]}
    flat |= {f"{other}_{setting}_total_ms": 1.0 for setting in settings}
    flat |= {f"served_{way.name}_alone_p50_ms": 1.0 for way in engine.WAYS} | {"x4plus_1024_eager_ms": 1.0}
    text = "\n".join(module("page").page([kept("gpu_engine", {}) | {"flat": flat}]))

    assert f"- {case}: plain, bf16\n" in text
    assert f"- {other}:" not in text
    assert "from HTTP in to PNG out" not in text
    assert "- Real-ESRGAN:" not in text


def test_a_busy_machine_is_told(bench: None) -> None:
    text = "\n".join(module("page").page([kept("submits", {}) | {"others_cores": 1.5}]))

    assert "Other programs took 1.5 cores" in text


def test_a_section_has_its_own_plots(bench: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = module("page")
    names = ("growth-sqlite.png", "growth_whole-sqlite.png", "submits.png")
    for name in names:
        (tmp_path / name).touch()
    monkeypatch.setattr(page, "PLOTS", tmp_path)
    monkeypatch.setattr(page, "ROOT", tmp_path)

    for benchmark, plot in zip(("growth", "growth_whole", "submits"), names, strict=True):
        text = "\n".join(page.page([kept(benchmark, {})]))
        assert [name for name in names if name in text] == [plot]


def test_every_benchmark_has_its_file_and_can_be_measured(bench: None) -> None:
    """Read, not imported: some of them load every library that there is."""
    for benchmark in module("run").BENCHMARKS:
        tree = ast.parse((BENCH / f"{benchmark.module}.py").read_text())
        (measure,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "measure"]
        assert [argument.arg for argument in measure.args.args] == ["quick"], benchmark.module


def test_one_that_fails_does_not_break_the_rest(
    bench: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given benchmarks of which one breaks, one has nothing to say here, and one is well
    run = module("run")
    for name, body in {
        "made_up_broken": "raise RuntimeError('no such thing here')",
        "made_up_left_out": "return {'left_out': 'there is no such device'}",
        "made_up_well": "return {'a_figure': 7}",
    }.items():
        (tmp_path / f"{name}.py").write_text(f"def measure(quick):\n    {body}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    names = ("made_up_broken", "made_up_left_out", "made_up_well")
    chosen = [run.Benchmark(module=name, what="made up") for name in names]
    # When all are run
    failed = run.run_all(chosen, quick=True, results=tmp_path / "results")
    # Then each is told, and what was found is kept, or that it could not be
    told = capsys.readouterr().out
    assert failed == 1
    assert "could not be measured here: RuntimeError: no such thing here" in told
    assert "not measured here: there is no such device" in told
    kept = {file.stem: json.loads(file.read_text()) for file in (tmp_path / "results").iterdir()}
    assert {name: each["found"] for name, each in kept.items()} == {
        "made_up_broken": {"failed": "RuntimeError: no such thing here"},
        "made_up_well": {"a_figure": 7},
    }
    text = "\n".join(module("page").page([kept["made_up_broken"]]))
    assert "**It could not be measured**: RuntimeError: no such thing here" in text


def test_a_process_is_found_beside_those_that_have_ended(bench: None, tmp_path: Path) -> None:
    # Given one that has ended and whose end nobody has asked for
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        served = module("served")
        with served.running([sys.executable, "-c", "import time; time.sleep(600)  # this one"], tmp_path) as started:
            # When the other is looked for, then it is found
            assert served.child(psutil.Process(), "this one") == started

        # And what does not run is not
        with pytest.raises(RuntimeError, match="nothing with this one runs"):
            served.child(psutil.Process(), "this one", within_s=0.05)


def test_the_peer_that_keeps_its_jobs_has_them_after_it_was_killed(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from PIL import Image; from peers.kept import Kept\n"
        "kept = Kept(Path(sys.argv[1]))\n"
        "print(kept.unfinished(), flush=True)\n"
        "for job in 'ab': kept.accepted(job + sys.argv[2], '{}')\n"
        "kept.completed('a' + sys.argv[2], Image.new('RGB', (8, 8)))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    first = subprocess.run([*command, "1"], cwd=BENCH, capture_output=True, text=True)
    assert (first.returncode, first.stdout) == (-9, "[]\n"), first.stderr
    again = subprocess.run([*command, "2"], cwd=BENCH, capture_output=True, text=True)
    assert again.stdout == "[('b1', '{}')]\n"
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["a1.png", "a2.png"]
