"""The header that tells what of a request had no effect."""

from collections.abc import Sequence

HEADER = "X-Danqing-Warning"


def warning_headers(texts: Sequence[str]) -> dict[str, str]:
    """For an answer: one header with all of them; none where there is nothing to tell."""
    return {HEADER: "; ".join(texts)} if texts else {}
