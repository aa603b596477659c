"""The Kubernetes manifests: probes, rights, time to end, settings. Where `kubectl` is, it builds them."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from danqing.config import InvalidSettings, Settings, load_settings, variable_of
from danqing.core.clock import utc_now
from danqing.core.shared_store import Waiting
from danqing.core.states import JobState
from danqing.metrics.labels import OTHER
from danqing.metrics.panel import MetricsPanel
from danqing.metrics.readings import JobReadings
from danqing.tracing.exchange_traces import UNTRACED_PATHS
from danqing.wiring import check_exposure
from tests.fakes.job_store import InMemoryJobStore
from tests.unit.metrics.reading import value

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
MONITORING = ROOT / "docs/monitoring.md"
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())
OURS = {
    "api": FOLDER / "base/api.yaml",
    "worker": FOLDER / "base/worker/worker.yaml",
    "server": FOLDER / "overlays/single/server.yaml",
}
NOT_OURS = {"HF_HOME", "POSTGRES_PASSWORD"}


def documents(path: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(path.read_text("utf-8")) if one]


def everything() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(FOLDER.rglob("*.yaml")):
        for document in documents(path):
            yield path, document


def pods(document: dict[str, Any]) -> list[dict[str, Any]]:
    template = document.get("spec", {}).get("template")
    return [template["spec"]] if template else []


def pod(name: str) -> dict[str, Any]:
    return next(found for document in documents(OURS[name]) for found in pods(document))


def container(name: str) -> dict[str, Any]:
    (only,) = pod(name)["containers"]
    return only


def literals(folder: str) -> dict[str, str]:
    """The settings that a folder's kustomization makes."""
    (kustomization,) = documents(FOLDER / folder / "kustomization.yaml")
    lines = (line for one in kustomization.get("configMapGenerator", ()) for line in one["literals"])
    return dict(line.split("=", 1) for line in lines)


def test_what_is_listed_is_there_and_what_is_there_is_listed() -> None:
    for path in FOLDER.rglob("kustomization.yaml"):
        (kustomization,) = documents(path)
        listed = {*kustomization["resources"], *kustomization.get("components", ())}
        assert [name for name in listed if not (path.parent / name).exists()] == []
        assert {file.name for file in path.parent.glob("*.yaml")} - {path.name} <= listed


def test_every_pod_is_confined_and_gets_no_foreign_variables() -> None:
    found = [(path, spec) for path, document in everything() for spec in pods(document)]
    assert len(found) == 6
    for path, spec in found:
        # Kubernetes would set DANQING_PORT=tcp://… for a service named danqing
        assert spec["enableServiceLinks"] is False, path
        assert spec["automountServiceAccountToken"] is False, path
        assert spec["securityContext"]["runAsNonRoot"] is True, path
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, path
        for one in spec["containers"]:
            assert one["securityContext"]["allowPrivilegeEscalation"] is False, path
            assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}, path
            assert "limits" in one["resources"], path


@pytest.mark.parametrize("name", OURS)
def test_ours_write_into_volumes_only(name: str) -> None:
    assert container(name)["securityContext"]["readOnlyRootFilesystem"] is True
    mounted = {mount["mountPath"] for mount in container(name)["volumeMounts"]}
    assert {"/data", "/tmp"} <= mounted


@pytest.mark.parametrize("name", ["api", "server"])
def test_probes_are_the_documented_ones(name: str) -> None:
    # Given the probes that the vendor's document shows
    seed = (ROOT / "tests/dialects/openai/seed.md").read_text("utf-8")
    shown = re.search(r"^```yaml\n(livenessProbe:.*?)^```$", seed, re.MULTILINE | re.DOTALL)
    assert shown is not None
    documented = yaml.safe_load(shown[1])
    ours = container(name)
    port = next(port["containerPort"] for port in ours["ports"] if port["name"] == "http")
    for probe in ("livenessProbe", "readinessProbe"):
        # Then path, port and period are the same
        assert ours[probe]["httpGet"]["path"] == documented[probe]["httpGet"]["path"]
        assert (ours[probe]["httpGet"]["port"], port) == ("http", documented[probe]["httpGet"]["port"])
        assert ours[probe]["periodSeconds"] == documented[probe]["periodSeconds"]
        # and a server that answers to certain names only answers to this one
        assert ours[probe]["httpGet"]["httpHeaders"] == [{"name": "Host", "value": "localhost"}]
    # and the time that a server may take to start is as long, and no longer than it takes
    startup = ours["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == documented["livenessProbe"]["initialDelaySeconds"]


@pytest.mark.parametrize("name", OURS)
def test_a_pod_that_is_stopped_has_the_time_to_end(name: str) -> None:
    said = {one["name"]: one["value"] for one in container(name).get("env", ()) if "value" in one}
    drain_s = float(said.get("DANQING_DRAIN_DEADLINE_S", Settings().drain_deadline_s))
    before = container(name).get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
    assert pod(name)["terminationGracePeriodSeconds"] > drain_s + float(before[1]) + 10


@pytest.mark.parametrize("folder", ["base", "overlays/trial", "overlays/production", "another-model"])
def test_settings_are_settings(folder: str, tmp_path: Path) -> None:
    values = literals("base") | literals(folder)
    settings = load_settings(environ=values, env_file=tmp_path / "none")
    assert (settings.host, settings.port) == ("0.0.0.0", 8000)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_are_settings(overlay: str) -> None:
    text = (FOLDER / "overlays" / overlay / "secrets.env.example").read_text("utf-8")
    named = set(re.findall(r"^#?([A-Z]\w+)=", text, re.MULTILINE))
    aliases = {alias for field in Settings.model_fields for alias in variable_of(field).aliases}
    assert {"API_ALLOWED_KEYS", "API_ADMIN_KEY"} <= named
    assert named - NOT_OURS <= aliases


def test_workers_of_another_model_are_not_taken_for_those_of_the_installation() -> None:
    # Given the workers of both
    (kustomization,) = documents(FOLDER / "another-model/kustomization.yaml")
    own = next(one for one in kustomization["labels"] if "app.kubernetes.io/instance" in one["pairs"])
    (base,) = documents(OURS["worker"])
    # Then neither deployment, nor its autoscaler, selects the pods of the other
    assert own["includeSelectors"] is own["includeTemplates"] is True
    assert own["pairs"]["app.kubernetes.io/instance"] not in base["spec"]["selector"]["matchLabels"].values()
    assert "app.kubernetes.io/instance" in base["spec"]["selector"]["matchLabels"]
    # And the budget of all workers, which is there once, holds for both
    budgets = [one for one in documents(FOLDER / "base/disruption.yaml") if one["metadata"]["name"] == "danqing-worker"]
    assert budgets[0]["spec"]["selector"]["matchLabels"] == {"app.kubernetes.io/name": "danqing-worker"}
    # And the scaler names the deployment as it is called in the end
    (scaler,) = documents(FOLDER / "another-model/scaled-object.yaml")
    assert scaler["spec"]["scaleTargetRef"]["name"] == base["metadata"]["name"] + kustomization["nameSuffix"]


def test_no_secret_is_checked_in() -> None:
    assert "secrets.env" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
    for path, document in everything():
        assert document["kind"] != "Secret", path


def test_what_workers_are_counted_by_is_measured() -> None:
    text = (FOLDER / "components/worker-autoscaling/scaled-object.yaml").read_text("utf-8")
    measured = (ROOT / "docs/monitoring.md").read_text("utf-8")
    names = set(re.findall(r"danqing_\w+", text))
    assert names == {"danqing_queue_jobs", "danqing_jobs", "danqing_queue_oldest_age_seconds"}
    assert [name for name in names if name not in measured] == []


def scaled_objects() -> list[dict[str, Any]]:
    """The one that is installed, and the one that the document shows."""
    shown = re.search(r"^```yaml\n(apiVersion: keda.*?)^```$", MONITORING.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert shown is not None
    return [*documents(FOLDER / "components/worker-autoscaling/scaled-object.yaml"), yaml.safe_load(shown[1])]


@pytest.mark.parametrize("scaled", scaled_objects())
def test_no_figures_are_not_taken_for_no_work(scaled: dict[str, Any]) -> None:
    # Then an empty answer of Prometheus is a failure, and no query makes a number of it
    for trigger in scaled["spec"]["triggers"]:
        assert trigger["metadata"]["ignoreNullValues"] == "false"
        assert "vector" not in trigger["metadata"]["query"]
    # and with a failure there is a worker at least, and no fewer than there are
    fallback = scaled["spec"]["fallback"]
    assert fallback["replicas"] >= 1
    assert fallback["behavior"] == "currentReplicasIfHigher"


async def test_whatever_has_not_ended_counts_as_work() -> None:
    # Given the figures of a server, and the query that says how many workers there are
    page = await a_page()
    asked = scaled_objects()[0]["spec"]["triggers"][0]["metadata"]["query"]
    (waiting,) = re.findall(r'danqing_queue_jobs\{model!="(\w+)"\}', asked)
    (states,) = re.findall(r'danqing_jobs\{state=~"([\w|]+)"\}', asked)
    # Then it asks for all that waits and can be made, and for all that is being made
    assert waiting == OTHER
    assert set(states.split("|")) | {JobState.PENDING} == {state for state in JobState if not state.is_final}
    for state in states.split("|"):
        assert value(page, "danqing_jobs", state=state) == 0


async def a_page() -> bytes:
    """Of a server with nothing to do."""
    store = InMemoryJobStore()

    async def waiting() -> Mapping[str, Waiting]:
        return {}

    panel = MetricsPanel(models=["sample"])
    panel.watch_jobs(
        JobReadings(
            unfinished=store.unfinished_counts, waiting=waiting, counts=store.counts, models=["sample"], clock=utc_now
        )
    )
    return await panel.page()


@pytest.mark.parametrize("overlay", ["production", "single"])
def test_without_keys_nothing_that_clients_reach_starts(overlay: str, tmp_path: Path) -> None:
    # Given the image's variables, the manifests', and the example of the secrets as it is
    image = dict(re.findall(r"\b(DANQING_\w+)=(\S+)", (ROOT / "Dockerfile").read_text("utf-8")))
    assert image["DANQING_ALLOW_PUBLIC"] == "true"
    manifests = literals("base") | literals("overlays/production")
    if overlay == "single":
        manifests = {one["name"]: one["value"] for one in container("server")["env"]}
    example = (FOLDER / "overlays" / overlay / "secrets.env.example").read_text("utf-8")
    secrets = dict(re.findall(r"^(API_\w+)=(.*)$", example, re.MULTILINE))
    # When a server is started with them, it says which key is missing
    with pytest.raises(InvalidSettings, match="API_ALLOWED_KEYS"):
        check_exposure(load_settings(environ=image | manifests | secrets, env_file=tmp_path / "none"))
    # And with one it starts
    secrets["API_ALLOWED_KEYS"] = "a-key"
    assert not check_exposure(load_settings(environ=image | manifests | secrets, env_file=tmp_path / "none"))


def test_from_outside_the_figures_are_out_of_reach() -> None:
    ingress, nobody = documents(FOLDER / "components/ingress/ingress.yaml")
    (rule,) = ingress["spec"]["rules"]
    found = {path["path"]: path for path in rule["http"]["paths"]}
    assert found["/metrics"]["pathType"] == "Exact"
    assert found["/metrics"]["backend"]["service"]["name"] == nobody["metadata"]["name"]
    assert "selector" not in nobody["spec"]


def test_what_is_asked_every_few_seconds_has_no_traces() -> None:
    probed = {
        probe["httpGet"]["path"] for name in OURS for key, probe in container(name).items() if key.endswith("Probe")
    }
    assert {"/health", "/ready", "/metrics"} <= probed <= set(UNTRACED_PATHS)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not there")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_can_be_built(overlay: str, tmp_path: Path) -> None:
    # Given a copy with the secrets filled in
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    chosen = tmp_path / "kubernetes/overlays" / overlay
    shutil.copy(chosen / "secrets.env.example", chosen / "secrets.env")
    # When it is built
    built = subprocess.run(["kubectl", "kustomize", chosen], capture_output=True, text=True, timeout=60, check=True)
    made = [one for one in yaml.safe_load_all(built.stdout) if one]
    # Then whatever refers to another object finds it, in one namespace
    by_kind = {(one["kind"], one["metadata"]["name"]): one for one in made}
    namespaces = {one["metadata"]["namespace"] for one in made if one["kind"] != "Namespace"}
    assert ("Namespace", *namespaces) in by_kind
    for one in made:
        for spec in pods(one):
            for source in (source for each in spec["containers"] for source in each.get("envFrom", ())):
                kind = "ConfigMap" if "configMapRef" in source else "Secret"
                assert (kind, next(iter(source.values()))["name"]) in by_kind
        if target := one["spec"].get("scaleTargetRef") if "spec" in one else None:
            assert ("Deployment", target["name"]) in by_kind
    # and each service and policy has pods
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in made if pods(one)]
    for one in made:
        if one["kind"] in ("Service", "NetworkPolicy", "PodDisruptionBudget"):
            spec = one["spec"]
            if one["metadata"]["name"] == "danqing-nobody":
                continue
            chosen_by = spec["selector"] if one["kind"] == "Service" else spec.get("selector", spec.get("podSelector"))
            wanted = chosen_by.get("matchLabels", chosen_by)
            assert any(wanted.items() <= each.items() for each in labels), one["metadata"]["name"]
