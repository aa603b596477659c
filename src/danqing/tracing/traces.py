"""The traces of this process."""

from opentelemetry.sdk.trace.export import SpanExporter

from danqing.tracing.exchange_traces import ExchangeTraces
from danqing.tracing.job_traces import JobTraces
from danqing.tracing.spans import Spans


class Traces:
    """One a process; for one event loop."""

    def __init__(self, exporter: SpanExporter | None = None) -> None:
        """exporter: see `Spans`."""
        self._spans = Spans(exporter)
        self.jobs = JobTraces(self._spans)
        self.exchanges = ExchangeTraces(self._spans.tracer)

    def close(self) -> None:
        """Sends what is left, for a few seconds. Blocking."""
        self._spans.close()
