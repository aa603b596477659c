"""Findings as lines for people: a pair side by side with its ratio, its spread, its goal."""

import math
import statistics
from collections.abc import Iterator, Mapping
from typing import Any

LEFT_OUT = "left_out"  # why a benchmark found nothing here
FAILED = "failed"  # why it could not be measured
_OF_FINDINGS = ("figures", "comparisons", "notes")
_GOAL, _RATIO = "_goal_ratio", "_ratio"
_MOST, _LEAST = "_goal_most", "_goal_least"


def told(findings: Mapping[str, Any]) -> Iterator[str]:
    """Line by line. What is neither figure nor comparison is shown as it is."""
    for figure in findings.get("figures", ()):
        value = f"{figure['value']:g} {figure['unit']}".rstrip()
        spread = f" ({values(figure['spread'])})" if "spread" in figure else ""
        yield f"  {figure['what']}: {value}{spread}{_in_brackets(figure)}"
    for pair in findings.get("comparisons", ()):
        yield f"  {pair['what']}, {pair['unit'] or 'share'} ({pair['better']} is better)"
        yield f"    danqing {values(pair['danqing'])}"
        yield f"    {pair['peer']} {values(pair['peer_has'])}"
        yield f"    ratio {pair['ratio']:g}{_in_brackets(pair)}"
    goals = flat_goals(findings)
    for name, value in findings.items():
        if name not in _OF_FINDINGS:
            yield from _plain(name, value, "  ", _in_brackets(goals.get(name, {})))
    for note in findings.get("notes", ()):
        yield f"  note: {note}"


def goal_of(told: Mapping[str, Any]) -> str:
    """Empty if there is none."""
    if (goal := told.get("goal")) is None:
        return ""
    return f"{goal['kind']} {goal['bound']:g}: {'met' if goal['met'] else 'missed'}"


def flat_goals(findings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Of benchmarks that give single figures: by the name of a figure that has a goal, which `X_goal_ratio` is of
    `X_ratio`, and `X_goal_most` and `X_goal_least` are of `X`.
    """
    goals: dict[str, dict[str, Any]] = {}
    for name, bound in findings.items():
        for ending, kind, of in ((_GOAL, "at least", _RATIO), (_MOST, "at most", ""), (_LEAST, "at least", "")):
            figure = name.removesuffix(ending) + of
            if name.endswith(ending) and figure in findings:
                value = findings[figure]
                met = value <= bound if kind == "at most" else value >= bound
                goals[figure] = {"goal": {"kind": kind, "bound": bound, "met": met}}
    return goals


def is_bound(name: str) -> bool:
    """Whether a single figure is a goal's, and no finding."""
    return name.endswith((_GOAL, _MOST, _LEAST))


def is_growth(costs: object) -> bool:
    """Whether it is operation, size, figure."""
    if not isinstance(costs, Mapping) or not costs:
        return False
    return all(
        isinstance(micros, Mapping) and micros and all(str(size).isdecimal() for size in micros)
        for micros in costs.values()
    )


def exponent(micros: Mapping[str, float]) -> float:
    """Of n in the cost: the slope between logarithms, over the upper half of the sizes."""
    points = sorted((math.log(int(size)), math.log(max(cost, 0.1))) for size, cost in micros.items())
    points = points[len(points) // 2 :]
    middle = statistics.mean(x for x, _ in points)
    spread = sum((x - middle) ** 2 for x, _ in points)
    return sum((x - middle) * y for x, y in points) / spread if spread else 0.0


def values(parts: Mapping[str, float]) -> str:
    """A spread."""
    return ", ".join(f"{name} {value:g}" for name, value in parts.items())


def _in_brackets(told: Mapping[str, Any]) -> str:
    goal = goal_of(told)
    return f" [goal: {goal}]" if goal else ""


def _plain(name: str, value: object, indent: str, after: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        yield f"{indent}{name}"
        for key, inner in value.items():
            yield from _plain(str(key), inner, indent + "  ")
    else:
        yield f"{indent}{name:<44} {value}{after}"
