"""The real engine on a tiny random model, started every way that the documents name."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from PIL import Image

from danqing.asgi import STARTUP_FAILURE
from tests.e2e.servers import DEADLINE_S, clean_environment, until
from tests.services.ports import free_port
from tests.services.postgres import PostgresServer
from tests.unit.engine.tiny_checkpoint import write_tiny_checkpoint


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder with random weights."""
    folder = tmp_path_factory.mktemp("tiny") / "tiny-model"
    write_tiny_checkpoint(folder)
    return folder


def settings(folder: Path, model: Path) -> dict[str, str]:
    return {"DANQING_DATA_DIR": str(folder / "data"), "DANQING_MODEL": str(model)}


def danqing(*arguments: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The command, run in that folder until it ends."""
    return subprocess.run(
        [sys.executable, "-m", "danqing", *arguments],
        cwd=cwd,
        env=clean_environment() | {"COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


@contextlib.contextmanager
def running(*command: str, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server process, ended with SIGTERM. log: where its standard error goes; it runs in that file's folder."""
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=log.parent,
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
    done = danqing(*order, "-o", str(alone), "--model", str(tiny_model), cwd=tmp_path, **here)
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
        done = danqing(*order, "-o", str(served), cwd=tmp_path, **here)
        # Then the server has made it, and it is the same file
        assert done.returncode == 0, done.stderr
        assert requests.get(f"{url}/api/status", timeout=10).json()["data"]["queue"]["completed_tasks"] == 1
        assert served.read_bytes() == alone.read_bytes()
        # And what the server refuses is told in one line
        refused = danqing("generate", "x", "--width", "5000", "-o", str(tmp_path / "x.png"), cwd=tmp_path, **here)
        assert refused.returncode == 1
        assert refused.stderr.startswith(f"danqing: {url}: ")
        assert "2048" in refused.stderr
    assert server.returncode == 0
    # And it has ended without a complaint, from Python or from us
    assert "Warning" not in (tmp_path / "log").read_text()
    warned = [line for line in (tmp_path / "log").read_text().splitlines() if '"level": "warning"' in line]
    assert {json.loads(line)["event"] for line in warned} <= {"server_was_stalled"}  # by a machine that stood still


UVICORN = ("uvicorn", "--factory", "danqing.asgi:turbo", "--port", "{port}")
GUNICORN = (
    *("gunicorn", "-w", "1", "-b", "127.0.0.1:{port}", "--timeout", "600"),
    *("-k", "uvicorn_worker.UvicornWorker", "danqing.asgi:turbo()"),
)


@pytest.mark.parametrize("manager", [UVICORN, GUNICORN], ids=lambda manager: manager[0])
def test_a_process_manager_runs_the_turbo_factory(tmp_path: Path, tiny_model: Path, manager: tuple[str, ...]) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = (part.format(port=port) for part in manager)
    with running(*command, log=tmp_path / "log", **settings(tmp_path, tiny_model)) as server:
        until(lambda: is_ready(url), "a loaded model")
        # The dialect alone: the start page is on the shared port only
        assert requests.get(url, timeout=10).status_code == 404
        wanted = {"prompt": "a red apple", "width": 64, "height": 64}
        task_id = requests.post(f"{url}/api/generate", json=wanted, timeout=10).json()["data"]["task_id"]
        result = f"{url}/api/result/{task_id}"
        until(lambda: requests.get(result, timeout=10).headers["content-type"] == "image/png", "a picture")
        # A start that goes well tells its settings, and has nothing to warn of
        assert '"event": "settings"' in (tmp_path / "log").read_text()
        assert "model_needs_attention" not in (tmp_path / "log").read_text()
    assert server.returncode in (0, -signal.SIGTERM)  # once it has shut down, uvicorn passes the signal on


def test_uvicorn_is_told_why_the_server_cannot_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "uvicorn", "--factory", "danqing.asgi:app", "--port", str(free_port())]
    environment = clean_environment() | settings(tmp_path, tmp_path / "no model")
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
    assert ended.returncode != 0
    assert "is neither a known model" in ended.stderr


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_start_that_fails_after_a_wait_is_no_clean_exit_of_uvicorn(tmp_path: Path, loop: str) -> None:
    # Given a server that waits for its database
    postgres, port, log = PostgresServer(), free_port(), tmp_path / "log"
    command = ("uvicorn", "--factory", "danqing.asgi:app", "--port", str(port), "--loop", loop)
    try:
        postgres.stop()
        wrong = {"DATABASE_URL": postgres.url("there_is_none"), "DANQING_DATA_DIR": str(tmp_path / "data")}
        with running(*command, log=log, **wrong) as server:
            until(lambda: "waiting_for_part" in log.read_text(), "a start that waits")
            # When it comes, and says no
            postgres.start()
            # Then who watches over the server sees that it failed
            assert server.wait(DEADLINE_S) == STARTUP_FAILURE
    finally:
        postgres.close()
    assert "no such database" in log.read_text()


def test_the_seeds_own_settings_on_a_bare_machine_say_what_is_missing(tmp_path: Path) -> None:
    # Given the seed's `.env`, and neither a GPU nor a network nor a download from before
    (tmp_path / ".env").write_text(f"HOST=127.0.0.1\nPORT={free_port()}\nMODEL_NAME=Tongyi-MAI/Z-Image-Turbo\n")
    bare = {"HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    advice = "MODEL_NAME=sample serves the bundled one"
    # When doctor looks, then it says in one line what is wrong and what to do
    done = danqing("doctor", cwd=tmp_path, **bare)
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if "z-image-turbo" in line]
    for part in ("problem", "not downloaded", "no GPU", advice):
        assert part in line
    # When the server starts, then so does its log
    log = tmp_path / "log"
    with running("danqing", "serve", "--log-format", "json", log=log, **bare):
        until(lambda: '"model_needs_attention"' in log.read_text(), "a line about the model")
    told = next(line for line in log.read_text().splitlines() if "model_needs_attention" in line)
    for part in ("not downloaded", "no GPU", advice):
        assert part in told
