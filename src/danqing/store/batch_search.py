"""Which batches show a job that somebody looks for: the condition for the database."""

from sqlalchemy import ColumnElement, Exists, func, select

from danqing.core.batches import BatchFilter, folded
from danqing.core.states import JobState
from danqing.store.schema import batches, jobs

_HOPELESS = (JobState.FAILED.value, JobState.CANCELLED.value)

_FOLDED_PROMPT = func.lower(jobs.c.prompt)  # of ASCII letters alone: so is the column ordered in every database


def shows(wanted: BatchFilter, is_shown: ColumnElement[bool]) -> Exists:
    """is_shown: whether a row of `jobs` is among those that a row of `batches` shows."""
    conditions: list[ColumnElement[bool]] = [is_shown]
    conditions += [_FOLDED_PROMPT.contains(folded(word), autoescape=True) for word in wanted.words]
    if wanted.model is not None:
        conditions.append(jobs.c.model == wanted.model)
    if wanted.mode is not None:
        conditions.append(jobs.c.mode == wanted.mode.value)
    if wanted.promising:
        conditions.append(jobs.c.state.not_in(_HOPELESS))
    return select(jobs.c.id).where(*conditions).correlate(batches).exists()
