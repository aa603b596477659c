"""One trace shows a job, whichever processes had to do with it."""

import subprocess
import sys
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from danqing.core.states import JobState
from danqing.core.types import Attempt, Job
from danqing.core.witness import StageTimes
from danqing.http.exchange import Exchange
from danqing.tracing.job_traces import ids_of
from danqing.tracing.traces import Traces
from tests.fakes.domain import LOST, NOW, a_job
from tests.unit.http.asgi import a_scope, call

TIMES = StageTimes(denoise_s=4.0, finish_s=0.5)


class Process:
    """One that traces, and what it has sent."""

    def __init__(self) -> None:
        self.sent = InMemorySpanExporter()
        self.traces = Traces(self.sent)

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.sent.get_finished_spans() if span.name == name]

    def span(self, name: str) -> ReadableSpan:
        (found,) = self.spans(name)
        return found


@pytest.fixture
def process() -> Process:
    return Process()


def running(job: Job, *, attempt: int = 1) -> Job:
    began = [NOW + timedelta(seconds=10 * number) for number in range(1, attempt + 1)]
    attempts = tuple(
        Attempt(number=n, worker="w1", started_at=at, ended_at=at + timedelta(seconds=5) if n < attempt else None)
        for n, at in enumerate(began, start=1)
    )
    return replace(job, attempts=attempts, started_at=began[-1], state=JobState.PROCESSING)


def completed(job: Job) -> Job:
    return replace(job, state=JobState.COMPLETED, finished_at=NOW + timedelta(seconds=60))


async def answer_error(_request: HTTPConnection, error: Exception) -> Response:
    return PlainTextResponse(type(error).__name__, status_code=500)


def test_the_trace_of_a_job_has_its_id_and_runs_through_processes() -> None:
    # Given an API process and a node, which share nothing
    api, node = Process(), Process()
    job = a_job(created_at=NOW)
    # When one accepts a job, and the other makes it
    api.traces.jobs.accepted(job)
    node.traces.jobs.began([running(job)], "node-1/cuda-0")
    node.traces.jobs.generated(running(job))
    node.traces.jobs.ended(completed(running(job)), replace(TIMES, upscale_s=2.0))
    # Then all their spans are of the trace that has the job's id
    spans = [*api.sent.get_finished_spans(), *node.sent.get_finished_spans()]
    assert {span.context.trace_id for span in spans if span.context} == {uuid.UUID(job.id).int}
    # And hang together: each belongs to the one before it
    submit = api.span("submit")
    assert submit.parent is None
    for name in ("queue", "attempt"):
        parent = node.span(name).parent
        assert parent is not None
        assert submit.context is not None
        assert parent.span_id == submit.context.span_id
    attempt = node.span("attempt")
    for name in ("denoise", "finish", "upscale"):
        parent = node.span(name).parent
        assert parent is not None
        assert attempt.context is not None
        assert parent.span_id == attempt.context.span_id
    assert (submit.kind, attempt.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    # And tell how long everything took
    queue, denoise = node.span("queue"), node.span("denoise")
    assert queue.start_time is not None
    assert queue.end_time is not None
    assert queue.end_time - queue.start_time == 10e9
    assert denoise.start_time is not None
    assert denoise.end_time is not None
    assert denoise.end_time - denoise.start_time == 4e9
    assert attempt.attributes is not None
    assert attempt.attributes["danqing.worker"] == "node-1/cuda-0"
    assert attempt.attributes["danqing.outcome"] == "completed"


def test_nothing_that_a_client_wrote_is_sent(process: Process) -> None:
    job = a_job(owner="somebody")
    process.traces.jobs.accepted(job)
    process.traces.jobs.began([running(job)], "w1")
    process.traces.jobs.ended(completed(running(job)), TIMES)
    told = " ".join(span.to_json() for span in process.sent.get_finished_spans())
    assert job.request.prompt not in told
    assert "somebody" not in told


def test_each_attempt_is_there_and_a_bad_one_says_why(process: Process) -> None:
    job = a_job(created_at=NOW)
    process.traces.jobs.began([running(job)], "w1")
    process.traces.jobs.attempt_failed(job, LOST, again=True)
    process.traces.jobs.began([running(job, attempt=2)], "w2")
    process.traces.jobs.ended(completed(running(job, attempt=2)), TIMES)
    first, second = process.spans("attempt")
    assert (first.status.status_code, first.status.description) == (StatusCode.ERROR, "worker_lost")
    assert second.status.status_code is StatusCode.UNSET
    # And the second wait begins where the first attempt ended
    _, wait = process.spans("queue")
    assert wait.start_time is not None
    assert wait.end_time is not None
    assert wait.end_time - wait.start_time == 5e9


@pytest.mark.parametrize("end", ["cancelled", "dropped", "lost"])
def test_an_attempt_that_comes_to_nothing_is_not_kept(process: Process, end: str) -> None:
    job = a_job()
    process.traces.jobs.began([running(job)], "w1")
    if end == "cancelled":
        process.traces.jobs.ended(replace(job, state=JobState.CANCELLED))
    if end == "dropped":
        process.traces.jobs.dropped(job.id)
    if end == "lost":  # and begun anew
        process.traces.jobs.began([running(job, attempt=2)], "w1")
    span, *_ = process.spans("attempt")
    assert span.attributes is not None
    assert span.attributes["danqing.outcome"] == end


def test_a_cancelled_job_that_somebody_else_has_in_hand_is_told(process: Process) -> None:
    job = a_job()
    process.traces.jobs.ended(replace(job, state=JobState.CANCELLED))
    ended = process.span("ended")
    assert ended.context is not None
    assert ended.context.trace_id == uuid.UUID(job.id).int


async def test_a_request_and_its_job_know_each_other(process: Process) -> None:
    # Given a client with a trace of its own
    job = a_job()
    theirs = f"00-{'a' * 32}-{'b' * 16}-01"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        process.traces.jobs.accepted(job)
        process.traces.jobs.joined(a_job(), "equal")
        await PlainTextResponse("fine", status_code=202)(scope, receive, send)

    exchange = Exchange(app, answer_error=answer_error, witnesses=[process.traces.exchanges])
    await call(exchange, a_scope("POST", "/x", traceparent=theirs))
    # Then the request is a part of it
    request, submit = process.span("POST"), process.span("submit")
    assert request.context is not None
    assert request.context.trace_id == int("a" * 32, 16)
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 202
    # And leads to the job and back
    trace_id, span_id = ids_of(job.id)
    assert (request.links[0].context.trace_id, request.links[0].context.span_id) == (trace_id, span_id)
    assert submit.links[0].context.span_id == request.context.span_id
    assert request.links[1].attributes is not None
    assert request.links[1].attributes["danqing.joined"] == "equal"


async def test_a_request_that_went_wrong_says_so_and_probes_have_no_span(process: Process) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    exchange = Exchange(broken, answer_error=answer_error, witnesses=[process.traces.exchanges])
    await call(exchange, a_scope())
    await call(exchange, a_scope(path="/livez"))
    assert process.span("GET").status.status_code is StatusCode.ERROR


def test_what_is_not_sampled_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    api, node = Process(), Process()
    jobs = [a_job(created_at=NOW) for _ in range(100)]
    for job in jobs:
        api.traces.jobs.accepted(job)
        node.traces.jobs.began([running(job)], "w1")
        node.traces.jobs.ended(completed(running(job)), TIMES)
    # Then both processes send the same traces, and not all of them
    traces = [{span.context.trace_id for span in p.sent.get_finished_spans() if span.context} for p in (api, node)]
    assert traces[0] == traces[1]
    assert 0 < len(traces[0]) < 100


def test_the_service_has_a_name_which_the_operator_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, wanted in (("", "danqing"), ("studio", "studio")):
        monkeypatch.setenv("OTEL_SERVICE_NAME", name)
        process = Process()
        process.traces.jobs.accepted(a_job())
        assert process.span("submit").resource.attributes["service.name"] == wanted


def test_who_does_not_want_traces_does_not_load_them() -> None:
    # FastAPI looks for OpenTelemetry's interface by itself; what does the work is in `sdk` and `exporter`
    heavy = "('danqing.tracing', 'opentelemetry.sdk', 'opentelemetry.exporter')"
    script = f"import sys, danqing.wiring; sys.exit(any(name.startswith({heavy}) for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
