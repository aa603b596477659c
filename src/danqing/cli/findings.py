"""What `danqing doctor` says: a finding is a line of its report."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "problem"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report. text: says also what to do, where something is the matter."""

    verdict: Verdict
    subject: str
    text: str
