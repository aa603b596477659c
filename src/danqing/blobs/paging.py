"""Makes pages of jobs' pictures out of their names in order."""

from collections.abc import Iterable, Iterator

import structlog

from danqing.core.errors import StorageFailure
from danqing.core.listing import PicturePage

log = structlog.get_logger(__name__)

# A job's id, and the name of a picture of it; None for an empty one, True for one that is half-written.
Entry = tuple[str, str | bool | None]


def pages_of(entries: Iterable[Entry], names_at_once: int) -> Iterator[PicturePage]:
    """entries: in the order of the ids. No job is in two pages; one page at least. Raises StorageFailure."""
    after = newest = ""
    found: dict[str, set[str]] = {}
    half_written: set[str] = set()
    count = 0
    for job_id, name in entries:
        if job_id < newest:  # whoever believed the pages would take pictures for missing that are there
            log.error("artifact_list_failed", reason="the place does not list its names in order")
            raise StorageFailure
        if job_id != newest and count >= names_at_once:
            yield _page(found, half_written, after, job_id)
            after, found, half_written, count = job_id, {}, set[str](), 0
        newest = job_id
        count += 1
        names = found.setdefault(job_id, set())
        if isinstance(name, str):
            names.add(name)
        elif name:
            half_written.add(job_id)
    yield _page(found, half_written, after, None)


def _page(found: dict[str, set[str]], half_written: set[str], after: str, before: str | None) -> PicturePage:
    pictures = {job_id: frozenset(names) for job_id, names in found.items()}
    return PicturePage(pictures=pictures, after=after, before=before, half_written=frozenset(half_written))
