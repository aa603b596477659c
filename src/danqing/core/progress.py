"""The newest progress of each running job, for clients that poll; bounded by the number of running jobs."""

from danqing.core.events import Event, PreviewMade, ProgressMade
from danqing.core.types import Progress


class ProgressBoard:
    """Fed with every event by an event bus. A step told after its job has ended is not kept. One thread only."""

    def __init__(self) -> None:
        self._latest: dict[str, Progress | None] = {}  # None: running, before its first step

    def note(self, event: Event) -> None:
        """Takes an event in; O(1)."""
        match event:
            case ProgressMade():
                if event.job_id in self._latest:
                    self._latest[event.job_id] = event.progress
            case PreviewMade():
                pass
            case _ if event.job.state.is_running:
                self._latest.setdefault(event.job.id, None)
            case _:
                self._latest.pop(event.job.id, None)

    def latest(self, job_id: str) -> Progress | None:
        """None before the first step, and for jobs that do not run."""
        return self._latest.get(job_id)
