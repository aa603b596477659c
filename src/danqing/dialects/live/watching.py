"""One job as one connection is told of it: each state once and in order, under every id that it was asked for with."""

import asyncio

from danqing.core.callers import Caller
from danqing.core.events import Event, PreviewMade, ProgressMade
from danqing.core.states import JobState
from danqing.core.studio import Studio
from danqing.core.types import EncodedPicture, Job, Progress, Stage
from danqing.dialects.live.outbox import Letter, Outbox, Step
from danqing.dialects.live.translate_out import Sign, from_job, states_since, to_text

_STATES_OF = {
    Stage.DENOISING: (JobState.PROCESSING,),
    Stage.UPSCALING: (JobState.PROCESSING, JobState.GENERATED),
}


class Watch:
    """Begins with the job as it is already known. The caller of `run` sees to it that it is run once."""

    def __init__(self, job: Job, *, outbox: Outbox, sign: Sign, previews: bool = False) -> None:
        self._told = job
        self._outbox = outbox
        self._sign = sign
        self._request_ids: list[str | None] = []
        self._preview: EncodedPicture | None = None  # not shown yet
        self._begun = asyncio.Event()
        self.previews = previews

    @property
    def request_ids(self) -> tuple[str | None, ...]:
        """Under which ids the job was asked for."""
        return tuple(self._request_ids)

    def tell(self, request_id: str | None) -> None:
        """Tells the job as it is known, and from now on all that happens to it, under this id too."""
        if request_id not in self._request_ids:
            self._request_ids.append(request_id)
        self._put(self._told, self._told.state, request_id)
        self._begun.set()

    async def run(self, studio: Studio, caller: Caller) -> bool:
        """Until the job has ended; False if the server stopped before that. Raises JobNotFound or StorageFailure.

        What happens before the first `tell` is told after it.
        """
        async with studio.watch(self._told.id, caller=caller, previews=self.previews) as events:
            await self._begun.wait()
            async for event in events:
                self._take(event)
        return self._told.state.is_final

    def _take(self, event: Event) -> None:
        match event:
            case ProgressMade():
                self._take_progress(event.progress)
            case PreviewMade():
                self._preview = event.picture if self.previews else None
            case _ if event.job.age > self._told.age:
                for state in states_since(self._told.state, event.job.state):
                    for request_id in self._request_ids:
                        self._put(event.job, state, request_id)
                self._told = event.job
            case _:
                pass  # older than what was told already

    def _take_progress(self, progress: Progress) -> None:
        # A step of before the state that was told is no news any more.
        still = (
            (JobState.PROCESSING,) if progress.stage is Stage.DENOISING else (JobState.PROCESSING, JobState.GENERATED)
        )
        if self._told.state in still:
            self._outbox.put_step(Step(job_id=self._told.fingerprint, progress=progress, preview=self._preview))
            self._preview = None

    def _put(self, job: Job, state: JobState, request_id: str | None) -> None:
        text = to_text(from_job(job, request_id=request_id, sign=self._sign, state=state))
        self._outbox.put_letter(Letter(text=text, final_of=job.id if state.is_final else None))
