"""Spans of jobs and requests: their ids, which of them are sent, and where to."""

import hashlib
import threading
from collections.abc import Mapping, Sequence
from contextvars import ContextVar

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import Link, Span, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from danqing import __version__

CLOSING_S = 3.0  # for the spans that are still to be sent
ROOT = "submit"  # the span that begins a job's trace

_of_job: ContextVar[bool] = ContextVar("of_job", default=False)  # what is begun just now is a span of a job's trace
_given_ids: ContextVar[tuple[int, int] | None] = ContextVar("given_ids", default=None)


class Spans:
    """Makes the spans of this process, and sends them. One a process."""

    def __init__(self, exporter: SpanExporter | None = None) -> None:
        """exporter: told of each span as it ends; None: they are sent to where `OTEL_EXPORTER_OTLP_…` says, now and
        then, by a thread.
        """
        self._provider = TracerProvider(resource=_resource(), id_generator=_Ids(), shutdown_on_exit=False)
        self._provider.sampler = _Sampler(self._provider.sampler)
        self._provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter()) if exporter is None else SimpleSpanProcessor(exporter)
        )
        self.tracer = self._provider.get_tracer("danqing", __version__)

    def start(
        self,
        name: str,
        parent: Context,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, str | int] | None = None,
        links: Sequence[Link] = (),
        at_ns: int | None = None,
        ids: tuple[int, int] | None = None,
    ) -> Span:
        """A span of a job's trace. at_ns: when it began; None: now. ids: of the trace that it begins, and its own."""
        of_job, given = _of_job.set(True), _given_ids.set(ids)
        try:
            return self.tracer.start_span(
                name, context=parent, kind=kind, attributes=attributes, links=links, start_time=at_ns
            )
        finally:
            _given_ids.reset(given)
            _of_job.reset(of_job)

    def is_sampled(self, trace_id: int) -> bool:
        """Whether a job's trace is wanted; every process says the same."""
        of_job = _of_job.set(True)
        try:
            return self._provider.sampler.should_sample(Context(), trace_id, ROOT).decision.is_sampled()
        finally:
            _of_job.reset(of_job)

    def close(self) -> None:
        """Sends what is left, for a few seconds. Blocking."""
        sending = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        sending.start()
        sending.join(CLOSING_S)


class _Ids(RandomIdGenerator):
    """Random, but for the span that begins a job's trace."""

    def generate_trace_id(self) -> int:
        given = _given_ids.get()
        return super().generate_trace_id() if given is None else given[0]

    def generate_span_id(self) -> int:
        given = _given_ids.get()
        return super().generate_span_id() if given is None else given[1]


class _Sampler(Sampler):
    """Another one that takes the ids of jobs' traces for as random as others are.

    Samplers that keep a share of all traces look at the id's lower half, and that of a UUID always begins alike.
    """

    def __init__(self, inner: Sampler) -> None:
        self._inner = inner

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if _of_job.get():
            trace_id = int.from_bytes(hashlib.sha256(trace_id.to_bytes(16)).digest()[:16])
        return self._inner.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return self._inner.get_description()


def _resource() -> Resource:
    """As `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say."""
    told = Resource.create()
    named = not str(told.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service")
    return told if named else told.merge(Resource({SERVICE_NAME: "danqing"}))
