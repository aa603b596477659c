"""Which jobs somebody wants to see previews of. Pure bookkeeping."""


class PreviewWishes:
    """Bounded: when too many are wished for, the oldest wish is forgotten, and with it one that came too late for the
    end of its job to forget it.
    """

    def __init__(self, *, most: int = 10_000) -> None:
        self._most = most
        self._job_ids: dict[str, None] = {}  # oldest first

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._job_ids

    def __len__(self) -> int:
        return len(self._job_ids)

    def remember(self, job_id: str) -> None:
        """A wish that is known already stays as old as it is."""
        self._job_ids.setdefault(job_id)
        if len(self._job_ids) > self._most:
            del self._job_ids[next(iter(self._job_ids))]

    def forget(self, job_id: str) -> None:
        """The job has ended, or nobody wants it any more; unknown ids are fine."""
        self._job_ids.pop(job_id, None)
