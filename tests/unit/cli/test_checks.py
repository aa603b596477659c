"""What `danqing doctor` finds."""

import importlib.metadata
import os
import shutil
import socket
from collections import namedtuple
from pathlib import Path

import pytest
from packaging.version import Version

from danqing.cli import checks
from danqing.cli.checks import Verdict
from danqing.cli.server_file import RunningServer, announced
from danqing.config import DialectPort, Settings
from danqing.devices import DeviceChoice, Gpu
from danqing.model_files import ModelFiles
from danqing.wiring import hardware

ABSENT = ModelFiles(whole=False, text="not downloaded")
LARGE = ModelFiles(whole=True, text="on disk", size_bytes=20 * 10**9)


def settings(folder: Path, **others: object) -> Settings:
    return Settings.model_validate({"data_dir": folder / "data", "port": 0, "cuda_available": True} | others)


@pytest.mark.parametrize(
    ("version", "safe"),
    [("3.40.1", False), ("3.44.5", False), ("3.44.6", True), ("3.45.0", False), ("3.50.6", False), ("3.50.7", True),
     ("3.51.2", False), ("3.51.3", True), ("3.52.0", True), ("4.0.0", True)],
)  # fmt: skip
def test_which_sqlite_has_the_wal_reset_bug(version: str, safe: bool) -> None:
    assert checks.wal_reset_safe(Version(version)) is safe


def test_a_folder_that_can_be_made_is_fine_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    assert checks.check_data_dir(settings(tmp_path)).verdict is Verdict.OK
    assert list(tmp_path.iterdir()) == []


def test_a_data_dir_that_is_a_file_or_cannot_be_made_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    assert checks.check_data_dir(settings(tmp_path)).verdict is Verdict.FAILURE
    assert checks.check_data_dir(settings(tmp_path, data_dir=Path("/proc/danqing"))).verdict is Verdict.FAILURE


def test_a_taken_port_is_a_problem_unless_it_is_our_own_servers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        wanted = settings(tmp_path, listen=(DialectPort(dialect="turbo", port=port),))
        assert checks.check_port(wanted).verdict is Verdict.FAILURE
        wanted.data_dir.mkdir()
        here = RunningServer(url=f"http://127.0.0.1:{port}", pid=os.getpid(), model="sample")
        with announced(wanted.data_dir, here):
            assert checks.check_port(wanted).verdict is Verdict.WARNING
    assert checks.check_port(wanted).verdict is Verdict.OK


def test_a_port_that_two_settings_name_is_a_problem(tmp_path: Path) -> None:
    found = checks.check_port(settings(tmp_path, port=5000, listen=(DialectPort(dialect="turbo", port=5000),)))
    assert found.verdict is Verdict.FAILURE
    assert "both name port 5000" in found.text


def test_a_metrics_port_that_another_process_has_is_told(tmp_path: Path) -> None:
    assert checks.check_metrics_port(settings(tmp_path)).verdict is Verdict.OK
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = settings(tmp_path, metrics_port=taken.getsockname()[1])
        found = checks.check_metrics_port(wanted)
        assert found.verdict is Verdict.FAILURE
        assert "DANQING_METRICS_PORT of its own" in found.text
        # The server that runs here may be who has it
        wanted.data_dir.mkdir()
        with announced(wanted.data_dir, RunningServer(url="http://127.0.0.1:8000", pid=os.getpid(), model="sample")):
            assert checks.check_metrics_port(wanted).verdict is Verdict.WARNING
    assert checks.check_metrics_port(wanted).verdict is Verdict.OK


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("free", "verdict"), [(10**12, Verdict.OK), (10**9, Verdict.WARNING), (10**7, Verdict.FAILURE)]
)
def test_little_free_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, verdict: Verdict) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, free))
    assert checks.check_disk(settings(tmp_path)).verdict is verdict


def test_packages_below_their_security_floor_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_packages(settings(tmp_path)).verdict is Verdict.OK
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "12.9" if name == "pillow" else "99.0")
    finding = checks.check_packages(settings(tmp_path))
    assert finding.verdict is Verdict.FAILURE
    assert "pillow 12.9 (needs 13.0.0)" in finding.text


@pytest.mark.parametrize(
    ("others", "torch_can", "verdict"),
    [({}, True, Verdict.OK), ({}, False, Verdict.WARNING), ({"cuda_available": False}, True, Verdict.WARNING),
     ({"gpu_device_id": 0}, True, Verdict.OK), ({"gpu_device_id": 1}, True, Verdict.FAILURE)],
)  # fmt: skip
def test_gpus_that_are_there_and_gpus_that_would_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: dict[str, object], torch_can: bool, verdict: Verdict
) -> None:
    monkeypatch.setattr(checks, "installed_gpus", lambda: (Gpu(name="H100", memory_total_bytes=80 * 10**9),))
    monkeypatch.setattr(checks, "cuda_visible_devices", lambda: None)
    monkeypatch.setattr(checks, "torch_has_cuda", lambda: torch_can)
    finding = checks.check_gpus(settings(tmp_path, **others))
    assert finding.verdict is verdict
    assert "H100 (80.0 GB)" in finding.text


def test_a_model_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    assert checks.check_models(settings(tmp_path, model="nothing")).verdict is Verdict.FAILURE


def test_a_wrong_models_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text("[models.a]\nsorce = 'x/y'\n")
    finding = checks.check_models(settings(tmp_path, models_file=tmp_path / "models.toml"))
    assert finding.verdict is Verdict.FAILURE
    assert "did you mean source?" in finding.text


def test_every_model_that_would_be_served_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(name="small", memory_total_bytes=16 * 10**9)
    monkeypatch.setattr(hardware, "installed_gpus", lambda: (gpu,))
    monkeypatch.setattr(checks, "files_state", lambda _: LARGE)
    monkeypatch.setattr(checks, "device_choice", lambda _: DeviceChoice(devices=("cuda:0",)))
    served = {"models": ("z-image-turbo", "z-image-turbo-uint4")}

    finding = checks.check_models(settings(tmp_path, **served))

    lines = finding.text.splitlines()
    assert finding.verdict is Verdict.WARNING
    names = ["sample", "z-image-turbo", "z-image-turbo-uint4", "sample-edit"]
    assert [line.partition(":")[0] for line in lines] == names
    assert ["no device has more than 16.0 GB" in line for line in lines] == [False, True, False, False]
    # And nobody is warned who keeps parts of it elsewhere, or has it quantised
    for others in ({"cpu_offload": True}, {"precision": "sdnq-int8"}):
        assert checks.check_models(settings(tmp_path, **served, **others)).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("files", "devices", "verdict", "words"),
    [
        (ABSENT, ("cuda:0",), Verdict.WARNING, "not downloaded (a start downloads it); MODEL_NAME=sample"),
        (ABSENT, ("cpu",), Verdict.FAILURE, "there is no GPU for it; MODEL_NAME=sample serves the bundled one"),
        (LARGE, ("cpu",), Verdict.WARNING, "there is no GPU for it"),
        (LARGE, ("cuda:0",), Verdict.OK, "on disk"),
    ],
)
def test_a_hub_model_needs_a_download_and_a_gpu(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: ModelFiles,
    devices: tuple[str, ...],
    verdict: Verdict,
    words: str,
) -> None:
    monkeypatch.setattr(checks, "files_state", lambda _: files)
    monkeypatch.setattr(checks, "device_choice", lambda _: DeviceChoice(devices=devices))
    monkeypatch.setattr(checks, "most_memory", lambda *_: None)
    finding = checks.check_models(settings(tmp_path, model="z-image-turbo"))
    assert finding.verdict is verdict
    assert words in finding.text


def test_what_a_mode_needs_beside_the_model_is_told_where_it_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "controlnet" not in checks.check_models(settings(tmp_path)).text
    monkeypatch.setattr(checks, "files_state", lambda _: LARGE)
    monkeypatch.setattr(checks, "device_choice", lambda _: DeviceChoice(devices=("cuda:0",)))
    monkeypatch.setattr(checks, "most_memory", lambda *_: None)
    finding = checks.check_models(settings(tmp_path, model="z-image-turbo"))
    assert finding.verdict is Verdict.OK
    assert finding.text.endswith("; controlnet only after danqing models pull")


def test_the_package_of_a_precision_and_the_upscaler_have_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    finding = checks.check_models(settings(tmp_path, model="sample-uint4"))
    assert finding.verdict is Verdict.FAILURE
    assert ".venv/bin/pip install -c constraints.txt -e '.[sdnq]'" in finding.text
    assert checks.check_upscaler(settings(tmp_path)).verdict is Verdict.OK
    assert checks.check_upscaler(settings(tmp_path, upscaler="no/such.param")).verdict is Verdict.FAILURE


def test_every_check_has_something_to_say(tmp_path: Path) -> None:
    findings = checks.all_findings(settings(tmp_path))
    assert len({finding.subject for finding in findings}) == len(findings) == 13
    assert all(finding.text for finding in findings)
