"""What a connection is told, put into words once for all that are told the same: letters and steps."""

import sys
from dataclasses import dataclass, replace
from functools import cached_property

from danqing.core.states import JobState
from danqing.core.types import EncodedPicture, Job, Progress, Stage
from danqing.dialects.live.schemas import RequestId
from danqing.dialects.live.translate_out import Sign, from_job, from_progress, to_text
from danqing.http.frames import text_frame

_STATES_OF = {
    Stage.DENOISING: (JobState.PROCESSING,),
    Stage.UPSCALING: (JobState.PROCESSING, JobState.GENERATED),
}


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A message that is never dropped. final_of: the id of the job whose final state it tells."""

    text: str
    final_of: str | None = None

    @cached_property
    def size_bytes(self) -> int:
        """What the text takes in memory: up to four bytes a character."""
        return sys.getsizeof(self.text)

    @cached_property
    def frame(self) -> bytes:
        """Of the text."""
        return text_frame(self.text)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A finished step; its words are made when they are sent. job_id: as on the wire."""

    job_id: str
    progress: Progress
    preview: EncodedPicture | None = None

    @cached_property
    def text(self) -> str:
        """The message."""
        return to_text(from_progress(self.job_id, self.progress, self.preview))

    @cached_property
    def frame(self) -> bytes:
        """Of the text."""
        return text_frame(self.text)

    @cached_property
    def states(self) -> tuple[JobState, ...]:
        """The states that the job can be in then; in any other the step is no news any more."""
        return _STATES_OF[self.progress.stage]

    @cached_property
    def without_preview(self) -> "Step":
        """The same step; itself if it has no preview."""
        return self if self.preview is None else replace(self, preview=None)


class JobNews:
    """A job as it is since a moment ago."""

    def __init__(self, job: Job, sign: Sign) -> None:
        self.job = job
        self._sign = sign
        self._letters: dict[tuple[JobState, RequestId | None], Letter] = {}

    def letter(self, state: JobState, request_id: RequestId | None) -> Letter:
        """Tells the job in its state, or as it was in an earlier one of its states."""
        letter = self._letters.get((state, request_id))
        if letter is None:
            text = to_text(from_job(self.job, request_id=request_id, sign=self._sign, state=state))
            letter = Letter(text=text, final_of=self.job.id if state.is_final else None)
            self._letters[state, request_id] = letter
        return letter


News = JobNews | Step
