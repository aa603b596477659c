"""The pictures of jobs that are in a place, told a page at a time: there may be more than fit into memory."""

from collections.abc import Mapping
from dataclasses import dataclass

NAMES_AT_ONCE = 5000


@dataclass(frozen=True, kw_only=True)
class PicturePage:
    """What there is of the jobs of these ids, each with all its pictures; an empty file is no picture.

    after, before: all pictures there are whose names come after and before these, by code points, are in it; before:
    None for the last page. half_written: the jobs of which there is something half-written.
    """

    pictures: Mapping[str, frozenset[str]]
    after: str
    before: str | None
    half_written: frozenset[str] = frozenset()
