"""What a run has done, and what became of it."""

import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.chaos.audit import Findings
from tests.chaos.clients import Promises
from tests.chaos.points import ClusterPoint, Point, Strike, Victim


@dataclass
class Report:
    """strikes: how often each point struck. recoveries: seconds from a death to the next job that can be made, by who
    had died.
    """

    seed: int
    seconds: float = 0.0
    strikes: Counter[Strike] = field(default_factory=Counter[Strike])
    recoveries: dict[Victim, list[float]] = field(default_factory=dict[Victim, list[float]])
    wrong: list[str] = field(default_factory=list[str])
    findings: Findings = field(default_factory=Findings)
    promises: Promises = field(default_factory=Promises)

    @property
    def kills(self) -> int:
        """Processes that died or hung of it."""
        return sum(times * point.kills for point, times in self.strikes.items())

    def recovered(self, victim: Victim, died: float) -> None:
        """Just now. died: when, on the monotonic clock."""
        self.recoveries.setdefault(victim, []).append(time.monotonic() - died)

    @property
    def is_clean(self) -> bool:
        """Nothing is wrong."""
        return not (self.wrong or self.findings.wrong or self.promises.torn)

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"seed {self.seed}, {self.seconds:.0f} s: {self.kills} kills, {sum(self.strikes.values())} strikes"
        for point in (*Point, *ClusterPoint):
            if self.strikes[point]:
                yield f"  {point.label:<5}{self.strikes[point]:>5}  {point.meaning}"
        for victim, times in self.recoveries.items():
            if len(times) > 1:
                p95 = statistics.quantiles(times, n=20, method="inclusive")[-1]
                middle = statistics.median(times)
                yield f"recovery of the {victim.value}: p50 {middle:.2f} s, p95 {p95:.2f} s ({len(times)} times)"
        found, kept = self.findings, self.promises
        accepted = len(kept.job_ids) + len(kept.fingerprints)
        yield f"accepted {accepted}, delivered at once {kept.pictures}; {found.jobs} jobs: {dict(found.ends)}"
        yield f"failures {dict(found.failures)}; refusals {kept.refusals}; {found.pictures} files, {found.moves} moves"
        kinds = (
            "accepted and lost",
            "completed twice",
            "two pictures of one attempt",
            "torn file",
            "stuck",
            "too many attempts",
        )
        counts = {kind: len(found.wrong.get(kind, ())) for kind in kinds} | {"torn answers": len(kept.torn)}
        yield ", ".join(f"{kind} {count}" for kind, count in counts.items())
        for kind, cases in found.wrong.items():
            yield f"WRONG: {kind}: {', '.join(cases[:5])}"
        for what in self.wrong:
            yield f"WRONG: {what}"
