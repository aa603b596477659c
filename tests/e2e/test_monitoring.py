"""The figures of a running server, and that dashboard, alarms and document speak of these and no others."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.e2e.servers import ROOT, Server, until
from tests.unit.metrics.reading import families, series

DASHBOARD = ROOT / "deploy/grafana/dashboards/danqing.json"
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
DOCUMENT = ROOT / "docs/monitoring.md"
NAME = re.compile(r"\b(?:danqing|process)_[a-z0-9_]+")
# There is no sample of these on a machine without a GPU.
ON_GPUS = {"danqing_worker_device_memory_bytes"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With the sample model, after a few jobs of which one lost its worker."""
    settings = {"DANQING_LOG_FORMAT": "line", "DANQING_LOG_PROMPTS": "true"}
    server = Server(tmp_path_factory.mktemp("server"), settings, command=("-m", "danqing", "serve"))
    server.start_ready()
    try:
        first = server.submit("a red house")
        server.wait_for(first, "completed")
        while "danqing_attempts_failed_total{" not in requests.get(f"{server.url}/metrics", timeout=10).text:
            long = server.submit("a tower", num_inference_steps=50)
            until(lambda long=long: server.has_begun(long), "a step")
            for pid in server.worker_pids():
                os.kill(pid, signal.SIGKILL)
            server.wait_for(long, "completed")
        wanted = {"prompt": "p", "model": "nobodys", "size": "64x64"}
        assert requests.post(f"{server.url}/v1/images/generations", json=wanted, timeout=30).status_code in (400, 404)
        yield server
    finally:
        server.terminate()


@pytest.fixture(scope="module")
def page(server: Server) -> bytes:
    """The server's figures."""
    return requests.get(f"{server.url}/metrics", timeout=10).content


def expressions(tree: object) -> Iterator[str]:
    """Every query in a dashboard or a file of rules."""
    match tree:
        case dict():
            for key, value in tree.items():
                if key in ("expr", "definition") and isinstance(value, str):
                    yield value
                else:
                    yield from expressions(value)
        case list():
            for each in tree:
                yield from expressions(each)
        case _:
            pass


def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return group["rules"]


@pytest.mark.parametrize("path", [DASHBOARD, ALERTS], ids=lambda path: path.name)
def test_every_query_asks_for_what_there_is(path: Path, page: bytes) -> None:
    queries = list(expressions(yaml.safe_load(path.read_text(encoding="utf-8"))))
    assert queries
    there = {name for name, _ in series(page)} | ON_GPUS
    for query in queries:
        names = set(NAME.findall(query))
        # `up` is Prometheus' own
        assert names or query.startswith("up{"), query
        missing = {name for name in names if name not in there}
        # What counts events of which there was none has a family, and no sample yet
        assert missing <= families(page), query
        assert not missing - {"danqing_jobs_joined_total"}, query


@pytest.mark.parametrize("path", [DASHBOARD, ALERTS], ids=lambda path: path.name)
def test_every_query_asks_for_labels_that_there_are(path: Path, page: bytes) -> None:
    labels: dict[str, set[str]] = {name: {"instance", "job"} for name in ON_GPUS | {"up"}}
    labels["danqing_worker_device_memory_bytes"] |= {"kind", "worker"}
    for name, pairs in series(page):
        labels.setdefault(name, {"instance", "job"}).update(label for label, _ in pairs)
    for query in expressions(yaml.safe_load(path.read_text(encoding="utf-8"))):
        for name, selector in re.findall(r"([a-z_]+)\{([^}]*)\}", query):
            asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
            if name in labels:
                assert asked <= labels[name], query
        assert query.count("(") == query.count(")"), query
        assert query.count("{") == query.count("}"), query


def test_the_document_has_every_figure_and_no_other(page: bytes) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `(danqing_\w+)` \| (\w+) \|", text, re.MULTILINE))
    kinds = dict(re.findall(r"^# TYPE (danqing_\w+) (\w+)$", page.decode(), re.MULTILINE))
    assert table == kinds
    named = {name.rstrip("_") for name in NAME.findall(text)} - {"danqing_queue", "process"}
    assert named <= set(kinds)


def test_the_document_has_the_labels_of_every_figure(page: bytes) -> None:
    rows = re.findall(r"^\| `(danqing_\w+)` \| \w+ \| ([\w, ]*) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    documented = {name: {label for label in labels.split(", ") if label} for name, labels in rows}
    for name, pairs in series(page):
        family = re.sub(r"_(bucket|count|sum)$", "", name)
        if (family if family in documented else name) in documented:
            labels = {label for label, _ in pairs} - {"le"}
            assert labels == documented[family if family in documented else name], name


def test_the_document_knows_every_alarm() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert re.findall(r"^\| (Danqing\w+) \|", text, re.MULTILINE) == [rule["alert"] for rule in alerts()]
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"].endswith(".")


def test_what_is_gone_altogether_is_told_too() -> None:
    rules = {rule["alert"]: rule["expr"] for rule in alerts()}
    assert 'absent(up{job="danqing"})' in rules["DanqingDown"]
    assert rules["DanqingQueueUnknown"] == "absent(danqing_queue_jobs)"


def test_counting_ended_jobs_wakes_nobody() -> None:
    # Given that it fails once in a while where they are too many
    rules = {rule["alert"]: rule for rule in alerts()}
    # Then the alarm of a database that is away is about other things, and about more than one failure
    asked = rules["DanqingStoreFails"]["expr"]
    assert re.findall(r"danqing_scrape_failed\{(.*?)\}", asked) == ['part="queue"']
    assert int(re.findall(r">= (\d+)", asked)[0]) > 2
    assert rules["DanqingEndedJobsUncounted"]["labels"]["severity"] == "warning"


def test_a_full_queue_is_no_fault_of_the_server(server: Server, page: bytes) -> None:
    # Given that a refusal for now has a status of its own in the figures
    faults = next(rule["expr"] for rule in alerts() if rule["alert"] == "DanqingServerErrors")
    # Then the alarm asks for the others only, and for more than one or two
    assert set(re.findall(r'status="(\w+)"', faults)) == {"5xx"}
    assert int(re.findall(r">= (\d+)", faults)[0]) > 2


def test_the_dashboard_can_be_imported_anywhere() -> None:
    found = dashboard()
    assert (found["uid"], found["title"]) == ("danqing", "Danqing")
    assert "id" not in found
    # It asks whichever Prometheus is chosen
    first, *_ = found["templating"]["list"]
    assert (first["name"], first["type"], first["query"]) == ("datasource", "datasource", "prometheus")
    sources = {
        source["uid"]
        for panel in found["panels"]
        for part in (panel, *panel.get("targets", []))
        if (source := part.get("datasource"))
    }
    assert sources == {"${datasource}"}
    # Its panels have ids of their own, and none covers another
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    for panel in panels:
        assert panel["title"]
        assert panel["type"] == "row" or (panel["description"].endswith(".") and panel["targets"])


def test_what_compose_mounts_is_what_the_provisioning_names() -> None:
    folder = ROOT / "deploy/grafana/provisioning"
    source = yaml.safe_load((folder / "datasources/prometheus.yaml").read_text(encoding="utf-8"))["datasources"][0]
    provider = yaml.safe_load((folder / "dashboards/danqing.yaml").read_text(encoding="utf-8"))["providers"][0]
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert source["url"] == "http://prometheus:9090"
    assert "./deploy/grafana:/etc/danqing:ro" in compose["grafana"]["volumes"]
    assert provider["options"]["path"] == "/etc/danqing/dashboards"
    scrape = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    (config,) = scrape["scrape_configs"]
    (found,) = config["dns_sd_configs"]
    assert config["job_name"] == "danqing"
    assert set(found["names"]) <= set(compose)
    for name in found["names"]:
        assert compose[name]["environment"]["DANQING_METRICS_PORT"] == found["port"]
    assert scrape["rule_files"] == [ALERTS.name]


def test_an_edit_leaves_the_lines_of_seed_004_and_its_id_leads_to_its_job(server: Server) -> None:
    task_id = server.submit("a red house")
    server.wait_for(task_id, "completed")
    # When a picture is edited by a request with an id of the client's
    answer = requests.post(
        f"{server.url}/v1/images/edits",
        files={"image": ("a.png", server.picture(task_id), "image/png")},
        data={"prompt": "a beautiful landscape", "n": "1"},
        headers={"X-Request-ID": "my-request-1"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-request-id"] == "my-request-1"
    # Then the log has what that server's log has
    start = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d - image_edit_server - INFO - "
    for text in (
        r"Loading model from /.+\.\.\.$",
        r"Model loaded successfully$",
        r"Processing image edit request: prompt='a beautiful landscape', n=1$",
        r"Image edit completed in \d+\.\d\ds, generated 1 image\(s\)$",
    ):
        until_logged(server, start + text)
    # And the job can be found by the request
    (accepted,) = until_logged(server, r"job_accepted job_id=(\S+) .*request_id=my-request-1$").groups()
    until_logged(server, rf"job_completed job_id={accepted} attempt=1 ")
    # A request is written down after its answer has gone
    until_logged(
        server, r"http_request method=POST route=/v1/images/edits status=200 ms=[\d.]+ request_id=my-request-1$"
    )


def until_logged(server: Server, pattern: str) -> re.Match[str]:
    """What the pattern finds in the server's log, waiting for it."""
    until(lambda: re.search(pattern, server.log, re.MULTILINE) is not None, f"{pattern} in the log")
    found = re.search(pattern, server.log, re.MULTILINE)
    assert found is not None
    return found
