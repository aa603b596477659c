"""What happens to jobs, as spans of each job's trace."""

import hashlib
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from danqing.core.types import Job, JobFailure
from danqing.core.witness import JoinReason, StageTimes
from danqing.tracing.spans import ROOT, Spans


class JobTraces:
    """Implements `core.witness.JobWitness`."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans
        self._attempts: dict[str, _Attempt] = {}  # by job id

    def accepted(self, job: Job) -> None:
        """See `JobWitness`; so for all below."""
        asked_by = trace.get_current_span()
        context = self._context(job.id)
        span = self._spans.start(
            ROOT,
            Context(),
            kind=SpanKind.PRODUCER,
            attributes=_attributes(job),
            links=[Link(asked_by.get_span_context())] if asked_by.get_span_context().is_valid else (),
            at_ns=_ns(job.created_at),
            ids=(context.trace_id, context.span_id),
        )
        span.end()
        asked_by.add_link(context, {"danqing.job_id": job.id})

    def joined(self, job: Job, reason: JoinReason) -> None:
        link = {"danqing.job_id": job.id, "danqing.joined": reason}
        trace.get_current_span().add_link(self._context(job.id), link)

    def refused(self, code: str, jobs: int) -> None:
        trace.get_current_span().set_attribute("danqing.refused", code)

    def began(self, jobs: Sequence[Job], worker: str) -> None:
        for job in jobs:
            number = len(job.attempts)
            began = job.started_at or job.created_at
            waited_since = (job.attempts[-2].ended_at if number > 1 else None) or job.created_at
            parent = self._parent(job.id)
            self._spans.start("queue", parent, at_ns=_ns(waited_since)).end(_ns(began))
            attributes = _attributes(job) | {
                "danqing.attempt": number,
                "danqing.worker": worker,
                "danqing.batch_jobs": len(jobs),
            }
            span = self._spans.start("attempt", parent, kind=SpanKind.CONSUMER, attributes=attributes, at_ns=_ns(began))
            self._let_go(job.id, "lost")
            self._attempts[job.id] = _Attempt(span, began_ns=time.time_ns())

    def step_done(self, job: Job) -> None:
        pass

    def generated(self, job: Job) -> None:
        if (attempt := self._attempts.get(job.id)) is not None:
            attempt.generated_ns = time.time_ns()

    def attempt_failed(self, job: Job, failure: JobFailure, *, again: bool) -> None:
        if (attempt := self._attempts.get(job.id)) is not None:
            attempt.span.set_status(Status(StatusCode.ERROR, failure.code))
            attempt.span.set_attribute("danqing.tried_again", again)
            self._let_go(job.id, "failed")

    def dropped(self, job_id: str) -> None:
        self._let_go(job_id, "dropped")

    def ended(self, job: Job, stages: StageTimes | None = None) -> None:
        if (attempt := self._attempts.get(job.id)) is not None and stages is not None:
            self._tell_stages(attempt, stages)
        if not self._let_go(job.id, str(job.state)) and stages is None:
            attributes = _attributes(job) | {"danqing.outcome": str(job.state)}
            self._spans.start("ended", self._parent(job.id), attributes=attributes).end()

    def _tell_stages(self, attempt: "_Attempt", stages: StageTimes) -> None:
        """They are known by their lengths; between them there are waits."""
        now = time.time_ns()
        finished = attempt.generated_ns or now
        spans = [
            ("denoise", attempt.began_ns, attempt.began_ns + _length_ns(stages.denoise_s)),
            ("finish", finished - _length_ns(stages.finish_s), finished),
        ]
        if stages.upscale_s:
            spans.append(("upscale", now - _length_ns(stages.upscale_s), now))
        parent = trace.set_span_in_context(attempt.span, Context())
        for name, begin, end in spans:
            self._spans.start(name, parent, at_ns=begin).end(end)

    def _let_go(self, job_id: str, outcome: str) -> bool:
        attempt = self._attempts.pop(job_id, None)
        if attempt is None:
            return False
        attempt.span.set_attribute("danqing.outcome", outcome)
        attempt.span.end()
        return True

    def _context(self, job_id: str) -> SpanContext:
        """Of the first span of the job's trace, wherever it is made."""
        trace_id, span_id = ids_of(job_id)
        flags = TraceFlags.SAMPLED if self._spans.is_sampled(trace_id) else TraceFlags.DEFAULT
        return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))

    def _parent(self, job_id: str) -> Context:
        return trace.set_span_in_context(trace.NonRecordingSpan(self._context(job_id)), Context())


@dataclass
class _Attempt:
    """generated_ns: when the original was stored, if more was to be made."""

    span: Span
    began_ns: int
    generated_ns: int | None = None


def ids_of(job_id: str) -> tuple[int, int]:
    """Trace and first span of a job: the trace's id is the job's."""
    digest = hashlib.sha256(job_id.encode()).digest()
    try:
        trace_id = uuid.UUID(job_id).int
    except ValueError:
        trace_id = int.from_bytes(digest[:16])
    return trace_id, int.from_bytes(digest[16:24]) or 1


def _attributes(job: Job) -> dict[str, str | int]:
    """Nothing that a client wrote."""
    return {
        "danqing.job_id": job.id,
        "danqing.model": job.request.model,
        "danqing.mode": str(job.request.mode),
        "danqing.width": job.request.width,
        "danqing.height": job.request.height,
        "danqing.num_inference_steps": job.request.num_inference_steps,
    }


def _ns(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)


def _length_ns(seconds: float) -> int:
    return int(seconds * 1e9)
