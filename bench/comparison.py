"""What a benchmark finds: figures, and pairs of them taken in the same run, each with its spread and its goal.

`measure(quick)` of each file in this folder gives such findings as plain dictionaries, ready for JSON.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Better = Literal["less", "more"]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """value: what counts, one of the others. parts: what is told beside it, by name."""

    value: float
    parts: dict[str, float]


def over_rounds(values: Sequence[float]) -> Spread:
    """The median, and how far the rounds lie apart."""
    middle = statistics.median(values)
    return Spread(value=middle, parts={"min": min(values), "median": middle, "max": max(values)})


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many of a hundred do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(percent / 100 * len(ordered)))]


def over_requests(values: Sequence[float], *, counts: Literal["p50", "p99"] = "p50") -> Spread:
    """Of single requests."""
    parts = {"p50": percentile(values, 50), "p99": percentile(values, 99)}
    return Spread(value=parts[counts], parts=parts)


@dataclass(frozen=True, kw_only=True)
class Goal:
    """bound: what a figure may be at most, or a ratio must be at least. of: what is bounded, for people."""

    bound: float
    kind: Literal["at most", "at least"]

    def is_met(self, value: float) -> bool:
        """Whether value keeps it."""
        return value <= self.bound if self.kind == "at most" else value >= self.bound


AHEAD = Goal(bound=1.0, kind="at least")  # of a ratio: no worse than the peer


@dataclass(kw_only=True)
class Findings:
    """Filled by a benchmark; `as_dict` at its end."""

    figures: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    comparisons: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    notes: list[str] = field(default_factory=list[str])

    def figure(self, what: str, found: Spread | float, unit: str, *, goal: Goal | None = None) -> None:
        """Something that stands by itself."""
        spread = found if isinstance(found, Spread) else Spread(value=found, parts={})
        told: dict[str, Any] = {"what": what, "unit": unit, "value": rounded(spread.value)}
        if spread.parts:
            told["spread"] = {name: rounded(value) for name, value in spread.parts.items()}
        if goal is not None:
            told["goal"] = _told_goal(goal, spread.value)
        self.figures.append(told)

    def compare(
        self,
        what: str,
        ours: Spread,
        peer: str,
        theirs: Spread,
        unit: str,
        *,
        better: Better,
        goal: Goal | None = AHEAD,
    ) -> None:
        """A pair. Its ratio says how many times better Danqing is; goal: of that ratio."""
        ratio = theirs.value / ours.value if better == "less" else ours.value / theirs.value
        told: dict[str, Any] = {
            "what": what,
            "unit": unit,
            "better": better,
            "danqing": {name: rounded(value) for name, value in ours.parts.items()},
            "peer": peer,
            "peer_has": {name: rounded(value) for name, value in theirs.parts.items()},
            "ratio": rounded(ratio),
        }
        if goal is not None:
            told["goal"] = _told_goal(goal, ratio)
        self.comparisons.append(told)

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON, without what is empty."""
        told = {"figures": self.figures, "comparisons": self.comparisons, "notes": self.notes}
        return {name: value for name, value in told.items() if value}


def _told_goal(goal: Goal, value: float) -> dict[str, Any]:
    return {"kind": goal.kind, "bound": goal.bound, "met": goal.is_met(value)}


def rounded(value: float) -> float:
    """To four digits that mean something."""
    return float(f"{value:.4g}")
