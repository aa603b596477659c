"""What happens to jobs in this process, counted. Implements `core.witness.JobWitness`."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram

from danqing.core.errors import DanqingError
from danqing.core.states import JobState
from danqing.core.types import Job, JobFailure, Mode
from danqing.core.upscaling import UPSCALER
from danqing.core.witness import JoinReason, StageTimes
from danqing.metrics.labels import ByLabels, KnownLabels

STAGE_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
ENDS = tuple(state for state in JobState if state.is_final)
BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 16)


class JobMetrics:
    """For one event loop."""

    def __init__(self, registry: CollectorRegistry, *, models: Collection[str]) -> None:
        """models: ids of those on offer; others, which only old jobs can have, are counted together."""
        self._models = KnownLabels(models)
        self._codes = KnownLabels(error_codes())
        self._accepted = ByLabels(
            Counter("danqing_jobs_accepted_total", "New jobs that were stored.", ("model", "mode"), registry=registry)
        )
        self._joined = ByLabels(
            Counter(
                "danqing_jobs_joined_total",
                "Submits answered with a job that was there: an equal one, or that of a repeated Idempotency-Key.",
                ("model", "reason"),
                registry=registry,
            )
        )
        self._refused = ByLabels(
            Counter(
                "danqing_jobs_refused_total",
                "Jobs that were not accepted, by the error's code.",
                ("code",),
                registry=registry,
            )
        )
        self._ended = ByLabels(
            Counter(
                "danqing_jobs_ended_total",
                "Jobs that were completed, have failed or were cancelled.",
                ("model", "mode", "state"),
                registry=registry,
            )
        )
        for model in models:  # from 0 on, so that Prometheus sees the first of each as well
            for mode in _modes_of(model):
                for state in ENDS:
                    self._ended.of(model, mode, state)
        self._attempts_failed = ByLabels(
            Counter(
                "danqing_attempts_failed_total",
                "Attempts that ended badly, by the failure's code; again: whether the job waits for another one.",
                ("model", "code", "again"),
                registry=registry,
            )
        )
        self._attempts_dropped = Counter(
            "danqing_attempts_dropped_total",
            "Attempts that came to nothing because the job was cancelled, or somebody else's by then.",
            registry=registry,
        )
        self._pictures = ByLabels(
            Counter(
                "danqing_pictures_total", "Stored pictures of completed jobs.", ("model", "kind"), registry=registry
            )
        )
        self._picture_bytes = ByLabels(
            Counter(
                "danqing_picture_bytes_total",
                "Size of the stored pictures of completed jobs.",
                ("kind",),
                registry=registry,
            )
        )
        self._steps = ByLabels(
            Counter("danqing_steps_total", "Denoising steps that ended.", ("model",), registry=registry)
        )
        self._batch_jobs = ByLabels(
            Histogram(
                "danqing_batch_jobs",
                "How many jobs a worker makes together.",
                ("model",),
                buckets=BATCH_BUCKETS,
                registry=registry,
            )
        )
        self._stages = ByLabels(
            Histogram(
                "danqing_job_stage_seconds",
                "Time by stage: queue (from acceptance to the first attempt), denoise, finish (with encoding and "
                "storing), upscale.",
                ("model", "stage"),
                buckets=STAGE_BUCKETS_S,
                registry=registry,
            )
        )
        self._whole = ByLabels(
            Histogram(
                "danqing_job_seconds",
                "From acceptance to completion, of completed jobs.",
                ("model",),
                buckets=STAGE_BUCKETS_S,
                registry=registry,
            )
        )

    def accepted(self, job: Job) -> None:
        """See `JobWitness`; so for all below."""
        self._accepted.of(self._models.of(job.request.model), job.request.mode).inc()

    def joined(self, job: Job, reason: JoinReason) -> None:
        self._joined.of(self._models.of(job.request.model), reason).inc()

    def refused(self, code: str, jobs: int) -> None:
        self._refused.of(self._codes.of(code)).inc(jobs)

    def began(self, jobs: Sequence[Job], worker: str) -> None:
        model = self._models.of(jobs[0].request.model)
        self._batch_jobs.of(model).observe(len(jobs))
        for job in jobs:
            if len(job.attempts) == 1 and job.started_at is not None:
                self._stages.of(model, "queue").observe(_seconds(job.created_at, job.started_at))

    def step_done(self, job: Job) -> None:
        self._steps.of(self._models.of(job.request.model)).inc()

    def generated(self, job: Job) -> None:
        pass

    def attempt_failed(self, job: Job, failure: JobFailure, *, again: bool) -> None:
        model, code = self._models.of(job.request.model), self._codes.of(failure.code)
        self._attempts_failed.of(model, code, "true" if again else "false").inc()

    def dropped(self, job_id: str) -> None:
        self._attempts_dropped.inc()

    def ended(self, job: Job, stages: StageTimes | None = None) -> None:
        model = self._models.of(job.request.model)
        self._ended.of(model, job.request.mode, job.state).inc()
        if stages is not None:
            self._stages.of(model, "denoise").observe(stages.denoise_s)
            self._stages.of(model, "finish").observe(stages.finish_s)
            if stages.upscale_s:
                self._stages.of(model, "upscale").observe(stages.upscale_s)
        if job.state is JobState.COMPLETED:
            for artifact in job.artifacts:
                self._pictures.of(model, artifact.kind).inc()
                self._picture_bytes.of(artifact.kind).inc(artifact.size_bytes)
            if job.finished_at is not None:
                self._whole.of(model).observe(_seconds(job.created_at, job.finished_at))


def _modes_of(model: str) -> Iterable[Mode]:
    """Those that jobs of it can have."""
    return (mode for mode in Mode if (mode is Mode.UPSCALE) == (model == UPSCALER))


def _seconds(begin: datetime, end: datetime) -> float:
    """Two machines may have said them, whose clocks differ: what falls is no sum of a histogram."""
    return max(0.0, (end - begin).total_seconds())


def error_codes() -> frozenset[str]:
    """The codes of all errors of the house."""
    found: set[str] = set()
    kinds: list[type[DanqingError]] = [DanqingError]
    while kinds:
        kind = kinds.pop()
        found.add(kind.code)
        kinds += kind.__subclasses__()
    return frozenset(found)
