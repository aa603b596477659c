"""What an API process and a node tell of one job: figures for each of them, and one trace for both."""

import gzip
import json
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.e2e.cluster import Node, a_small_cluster
from tests.e2e.servers import until
from tests.unit.metrics.reading import families, value


class Collector:
    """Takes traces in as OpenTelemetry's collectors do. spans: (trace id, name, service) of each."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, str]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Remembers every span of a message."""
        for resource in request.resource_spans:
            (service,) = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
            for scope in resource.scope_spans:
                self.spans += [(span.trace_id.hex(), span.name, service) for span in scope.spans]

    def of(self, job_id: str) -> set[tuple[str, str]]:
        """Name and service of the spans of a job."""
        return {(name, service) for trace_id, name, service in self.spans if trace_id == uuid.UUID(job_id).hex}


@contextmanager
def a_collector() -> Iterator[Collector]:
    collector = Collector()
    thread = threading.Thread(target=collector.server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        collector.server.shutdown()
        thread.join()
        collector.server.server_close()


def metrics_url(node: Node) -> str:
    lines = [json.loads(line) for line in node.log.splitlines() if line.startswith("{")]
    return next(line["url"] for line in lines if line["event"] == "listening" and line["dialect"] == "metrics")


def test_figures_and_traces_of_one_job_in_two_processes(tmp_path: Path) -> None:
    with a_collector() as collector:
        tracing = {
            "DANQING_OTEL": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        with a_small_cluster(tmp_path, **tracing) as cluster:
            # Given an API process and a node
            api = cluster.api()
            waiting = api.submit("a plain one")
            page = requests.get(f"{api.url}/metrics", timeout=10).content
            # While no node is there, the job waits, and its age tells how long
            assert value(page, "danqing_queue_jobs", model="sample") == 1
            assert (value(page, "danqing_queue_oldest_age_seconds", model="sample") or 0) > 0
            assert value(page, "danqing_workers", state="ready") == 0
            node = cluster.node(DANQING_METRICS_PORT="0", OTEL_SERVICE_NAME="danqing-worker")
            # When it is made
            api.wait_for(waiting, "completed")
            # Then the API process has taken it in, and the node has made it
            page = requests.get(f"{api.url}/metrics", timeout=10).content
            assert value(page, "danqing_jobs_accepted_total", model="sample", mode="text2img") == 1
            assert value(page, "danqing_pictures_total", model="sample", kind="original") is None
            assert not {name for name in families(page) if name.startswith("danqing_worker_")}
            until(
                lambda: (
                    value(requests.get(f"{api.url}/metrics", timeout=10).content, "danqing_workers", state="ready") == 1
                ),
                "the API process to know the node",
            )

            def nodes_page() -> bytes:
                return requests.get(f"{metrics_url(node)}/metrics", timeout=10).content

            until(
                lambda: value(nodes_page(), "danqing_pictures_total", model="sample", kind="original") == 1,
                "a picture that is counted",
            )
            page = nodes_page()
            assert value(page, "danqing_worker_ready", worker="cpu") == 1
            assert (value(page, "danqing_store_seconds_count", operation="write") or 0) > 0
            assert "danqing_queue_jobs" not in families(page)
            # And one trace has what both did
            node.signal(signal.SIGTERM)
            assert node.wait() == 0
            wanted = {("submit", "danqing")} | {
                (name, "danqing-worker") for name in ("queue", "attempt", "denoise", "finish")
            }
            until(lambda: collector.of(waiting) == wanted, "all spans of the job")


def test_a_collector_that_is_away_holds_nobody_up(tmp_path: Path) -> None:
    away = {"DANQING_OTEL": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with a_small_cluster(tmp_path, **away) as cluster:
        api, node = cluster.api(), cluster.node()
        task_id = api.submit("a plain one")
        api.wait_for(task_id, "completed")
        node.signal(signal.SIGTERM)
        assert node.wait() == 0
        assert api.terminate() == 0


def test_messages_that_a_broker_does_not_take_are_counted_until_it_does(tmp_path: Path) -> None:
    with a_small_cluster(tmp_path) as cluster:
        api = cluster.api()

        def unsent() -> tuple[float | None, float | None]:
            page = requests.get(f"{api.url}/metrics", timeout=10).content
            age = value(page, "danqing_unsent_messages_oldest_age_seconds")
            return value(page, "danqing_unsent_messages"), age

        assert unsent() == (0, 0)
        # Given a broker that is away
        cluster.redis.kill()
        for number in range(3):
            api.submit(f"number {number}")
        # Then what it does not take has an age, and the process takes jobs all the same
        messages, age = unsent()
        assert messages == 3
        assert age is not None and age > 0
        assert requests.get(f"{api.url}/readyz", timeout=10).status_code == 200
        # And none is left once it is back
        cluster.redis.start()
        until(lambda: unsent() == (0, 0), "messages that were sent")
