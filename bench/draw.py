"""Draws what was found: ratios of each benchmark as bars, growth as lines. Needs matplotlib (`make bench` has it)."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no display is needed
from matplotlib import pyplot
from matplotlib.figure import Figure
from report import is_growth

AHEAD, BEHIND, BOUND = "#2a6f6b", "#b5502f", "#777777"
LINE_CHARS = 60  # of a name beside its bar


def drawn(kept: Mapping[str, Any], folder: Path) -> list[Path]:
    """The plots of one result."""
    found = kept["found"]
    if bars := ratios(found):
        return [draw_ratios(kept["what"], bars, folder / f"{kept['benchmark']}.png")]
    series = {name: costs for name, costs in found.items() if is_growth(costs)}
    return [
        draw_growth(f"{kept['what']}: {name}", costs, folder / f"{kept['benchmark']}-{name}.png")
        for name, costs in series.items()
    ]


def ratios(found: Mapping[str, Any]) -> list[tuple[str, float, float | None]]:
    """Name, ratio, and what it should be at least."""
    pairs = [
        (f"{pair['what']}\nbeside {pair['peer']}", pair["ratio"], pair.get("goal", {}).get("bound"))
        for pair in found.get("comparisons", ())
        if pair["ratio"] > 0
    ]
    flat = [
        (name.removesuffix("_ratio").replace("_", " "), ratio, found.get(name.removesuffix("_ratio") + "_goal_ratio"))
        for name, ratio in found.items()
        if name.endswith("_ratio") and not name.endswith("_goal_ratio")
    ]
    return pairs + flat


def draw_ratios(title: str, bars: Sequence[tuple[str, float, float | None]], file: Path) -> Path:
    """How many times better Danqing is; a line at 1, a mark at each goal."""
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.6 * len(bars)), layout="constrained")
    places = range(len(bars))
    axes.barh(places, [ratio for _, ratio, _ in bars], color=[AHEAD if ratio >= 1 else BEHIND for _, ratio, _ in bars])
    for place, (_, ratio, goal) in zip(places, bars, strict=True):
        axes.text(ratio * 1.03, place, f"{ratio:.3g}", va="center", fontsize=8)
        if goal is not None and goal > 0:
            axes.plot([goal, goal], [place - 0.42, place + 0.42], color=BOUND, linewidth=2)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(places, [_in_lines(name) for name, _, _ in bars], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set_xlabel("times better than the peer (1: alike); grey: the goal")
    axes.set_title(title, fontsize=10)
    return _saved(figure, file)


def draw_growth(title: str, costs: Mapping[str, Mapping[str, float]], file: Path) -> Path:
    """Microseconds by size, both on scales of powers of ten."""
    figure, axes = pyplot.subplots(figsize=(9, 5.5), layout="constrained")
    for number, (name, micros) in enumerate(costs.items()):
        sizes = sorted(micros, key=int)
        style = ("-", "--", ":")[number // 10 % 3]
        axes.plot([int(size) for size in sizes], [micros[size] for size in sizes], style, marker=".", label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("how many there are")
    axes.set_ylabel("microseconds a call")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_title(title, fontsize=10)
    return _saved(figure, file)


def _in_lines(name: str) -> str:
    return "\n".join(part for line in name.split("\n") for part in textwrap.wrap(line, LINE_CHARS))


def _saved(figure: Figure, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=100)
    pyplot.close(figure)
    return file
