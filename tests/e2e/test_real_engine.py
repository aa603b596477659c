"""The real engine on a tiny random model, started every way that the documents name."""

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from PIL import Image

from tests.e2e.servers import DEADLINE_S, ROOT, clean_environment, until
from tests.unit.engine.tiny_checkpoint import write_tiny_checkpoint


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder with random weights."""
    folder = tmp_path_factory.mktemp("tiny") / "tiny-model"
    write_tiny_checkpoint(folder)
    return folder


def settings(folder: Path, model: Path) -> dict[str, str]:
    return {"DANQING_DATA_DIR": str(folder / "data"), "DANQING_MODEL": str(model)}


def danqing(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "danqing", *arguments],
        cwd=ROOT,
        env=clean_environment() | {"COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


@contextlib.contextmanager
def running(*command: str, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server process, ended with SIGTERM. log: where its standard error goes."""
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=clean_environment() | environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)


def is_ready(url: str) -> bool:
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"{url}/health", timeout=2).json()["data"]["model_loaded"]
    return False


def test_a_picture_from_the_command_line_with_and_without_a_server(tmp_path: Path, tiny_model: Path) -> None:
    here = settings(tmp_path, tiny_model)
    order = ("generate", "a red apple", "--width", "96", "--height", "64", "--seed", "7", "--steps", "2")
    alone, served = tmp_path / "alone.png", tmp_path / "served.png"
    # Given no server that has this model, when a picture is made
    done = danqing(*order, "-o", str(alone), "--model", str(tiny_model), **here)
    # Then it is there as asked, its seed is told, and the data dir was left alone
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{alone}  seed 7\n")
    with Image.open(alone) as picture:
        assert picture.size == (96, 64)
    assert not (tmp_path / "data").exists()
    # Given a server on the data dir, when the same picture is made
    with running("danqing", "serve", "--port", "0", "--log-format", "json", log=tmp_path / "log", **here) as server:
        assert server.stdout is not None
        url = [server.stdout.readline() for _ in range(2)][1].split()[1].decode()
        until(lambda: is_ready(url), "a loaded model")
        done = danqing(*order, "-o", str(served), **here)
        # Then the server has made it, and it is the same file
        assert done.returncode == 0, done.stderr
        assert requests.get(f"{url}/api/status", timeout=10).json()["data"]["queue"]["completed_tasks"] == 1
        assert served.read_bytes() == alone.read_bytes()
        # And what the server refuses is told in one line
        refused = danqing("generate", "x", "--width", "5000", "-o", str(tmp_path / "x.png"), **here)
        assert refused.returncode == 1
        assert refused.stderr.startswith(f"danqing: {url}: ")
        assert "2048" in refused.stderr
    assert server.returncode == 0
    # And it has ended without a complaint, from Python or from us
    assert "Warning" not in (tmp_path / "log").read_text()
    assert '"level": "warning"' not in (tmp_path / "log").read_text()


def test_uvicorn_runs_the_turbo_factory(tmp_path: Path, tiny_model: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = ("uvicorn", "--factory", "danqing.asgi:turbo", "--port", str(port))
    with running(*command, log=tmp_path / "log", **settings(tmp_path, tiny_model)) as server:
        until(lambda: is_ready(url), "a loaded model")
        # The dialect alone: the start page is on the shared port only
        assert requests.get(url, timeout=10).status_code == 404
        wanted = {"prompt": "a red apple", "width": 64, "height": 64}
        task_id = requests.post(f"{url}/api/generate", json=wanted, timeout=10).json()["data"]["task_id"]
        result = f"{url}/api/result/{task_id}"
        until(lambda: requests.get(result, timeout=10).headers["content-type"] == "image/png", "a picture")
    assert server.returncode in (0, -signal.SIGTERM)  # once it has shut down, uvicorn passes the signal on


def test_uvicorn_is_told_why_the_server_cannot_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "uvicorn", "--factory", "danqing.asgi:app", "--port", str(free_port())]
    environment = clean_environment() | settings(tmp_path, tmp_path / "no model")
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
    assert ended.returncode != 0
    assert "is neither a known model" in ended.stderr


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
