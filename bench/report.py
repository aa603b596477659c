"""Findings as lines for people: a pair side by side with its ratio, its spread, its goal."""

from collections.abc import Iterator, Mapping
from typing import Any

LEFT_OUT = "left_out"  # why a benchmark found nothing here
_OF_FINDINGS = ("figures", "comparisons", "notes")
_GOAL, _RATIO = "_goal_ratio", "_ratio"


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
    """Of benchmarks that give single figures: by the name of a ratio that has a goal, which `X_goal_ratio` is of
    `X_ratio`.
    """
    goals: dict[str, dict[str, Any]] = {}
    for name, bound in findings.items():
        ratio = name.removesuffix(_GOAL) + _RATIO
        if name.endswith(_GOAL) and ratio in findings:
            goals[ratio] = {"goal": {"kind": "at least", "bound": bound, "met": findings[ratio] >= bound}}
    return goals


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
