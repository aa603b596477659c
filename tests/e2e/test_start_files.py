"""`python app.py`, gunicorn with `app:app`, `python main.py`, uvicorn with `main:app`: each really started once.

The files are copied, for a developer may have an `.env` beside them.
"""

import contextlib
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from danqing.cli.start_files import serve_alone
from danqing.config import Settings
from tests.e2e.servers import DEADLINE_S, ROOT, clean_environment
from tests.services.ports import free_port
from tests.unit.engine.tiny_checkpoint import write_tiny_checkpoint

pytestmark = pytest.mark.timeout(400)

FILES = ("app.py", "main.py", "gunicorn.conf.py")


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder with random weights."""
    folder = tmp_path_factory.mktemp("tiny") / "tiny-model"
    write_tiny_checkpoint(folder)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The start files, in a folder of their own."""
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


@contextlib.contextmanager
def running(home: Path, *arguments: str, **environment: str) -> Iterator[None]:
    """Python with these arguments, in that folder; ended with SIGTERM, and its log then in `home/log`."""
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=home, env=clean_environment() | environment, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def servers_of(home: Path) -> int:
    """How often a server has been started."""
    return (home / "log").read_text().count('"event": "settings"')


def health(url: str) -> dict[str, Any]:
    """Nothing until it answers."""
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"{url}/health", timeout=10).json()
    return {}


def until(come: Callable[[], bool], what: str) -> None:
    """Waits for what takes seconds, on a busy machine a minute."""
    deadline = time.monotonic() + 3 * DEADLINE_S
    while not come():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.25)


def network_address() -> str | None:
    """One of this machine's by which another would reach it."""
    addresses = (one.address for name in psutil.net_if_addrs().values() for one in name if one.family.name == "AF_INET")
    return next((address for address in addresses if not address.startswith("127.")), None)


def is_open_to_the_network(port: int) -> bool:
    address = network_address()
    return address is None or requests.get(f"http://{address}:{port}/health", timeout=10).status_code == 200


APP = ("app.py",)
# The document's own line, but for the port
GUNICORN = ("-m", "gunicorn", "-w", "1", "-b", "0.0.0.0:{port}", "--timeout", "600", "app:app")
MAIN = ("main.py",)
UVICORN = ("-m", "uvicorn", "main:app", "--host", "0.0.0.0", "--port", "{port}")


@pytest.mark.parametrize("command", [APP, GUNICORN], ids=["app.py", "gunicorn"])
def test_turbo_starts_as_before(home: Path, tiny_model: Path, command: tuple[str, ...]) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(home, *(part.format(port=port) for part in command), PORT=str(port), MODEL_NAME=str(tiny_model)):
        loaded = {"status": "healthy", "model_loaded": True}
        until(lambda: health(url).get("data") == loaded, "a loaded model")
        # Then turbo is spoken alone, to whoever reaches it
        assert requests.get(f"{url}/v1/models", timeout=10).status_code == 404
        assert is_open_to_the_network(port)
        # And a worker makes pictures, with this start file as its main module
        wanted = {"prompt": "a red apple", "width": 64, "height": 64}
        task_id = requests.post(f"{url}/api/generate", json=wanted, timeout=10).json()["data"]["task_id"]
        result = f"{url}/api/result/{task_id}"
        until(lambda: requests.get(result, timeout=10).headers["content-type"] == "image/png", "a picture")
    # And one server was started, which has said that it is open
    assert servers_of(home) == 1
    assert "no listed key is needed; see SECURITY.md" in (home / "log").read_text()


@pytest.mark.parametrize("command", [MAIN, UVICORN], ids=["main.py", "uvicorn"])
def test_openai_starts_as_before(home: Path, tiny_model: Path, command: tuple[str, ...]) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(home, *(part.format(port=port) for part in command), PORT=str(port), QWEN_MODEL_DIR=str(tiny_model)):
        until(lambda: health(url).get("status") == "healthy", "an answer")
        assert requests.get(f"{url}/api/status", timeout=10).status_code == 404
        assert is_open_to_the_network(port)
    assert servers_of(home) == 1
    assert "no listed key is needed; see SECURITY.md" in (home / "log").read_text()


@pytest.mark.parametrize(("dialect", "port"), [("turbo", 5000), ("openai", 8000)])
def test_they_serve_where_their_documents_say_unless_a_setting_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dialect: str, port: int
) -> None:
    started = list[tuple[Settings, str | None]]()
    monkeypatch.setattr(
        "danqing.cli.start_files.run_server", lambda settings, *, alone: started.append((settings, alone))
    )
    monkeypatch.setattr("sys.argv", ["app.py"])
    monkeypatch.setattr("os.environ", {})
    monkeypatch.chdir(tmp_path)
    serve_alone(dialect, port=port)
    (tmp_path / ".env").write_text("HOST=127.0.0.1\nPORT=9000\nDANQING_ALLOW_PUBLIC=false\n")
    serve_alone(dialect, port=port)
    told = [(one.host, one.port, one.allow_public, alone) for one, alone in started]
    assert told == [("0.0.0.0", port, True, dialect), ("127.0.0.1", 9000, False, dialect)]


def test_what_is_wrong_is_told_in_one_line(home: Path) -> None:
    for arguments, environment, said in (
        (("--port", "9000"), {}, "app.py takes no options"),
        ((), {"PORT": "x"}, "DANQING_PORT (PORT): 'x'"),
        ((), {"DANQING_ALLOW_PUBLIC": "false"}, "0.0.0.0 is reached from other machines"),
    ):
        ended = subprocess.run(
            [sys.executable, "app.py", *arguments],
            cwd=home,
            env=clean_environment() | environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        assert ended.returncode == 1
        assert ended.stderr.splitlines()[-1].startswith(f"danqing: {said}")
        assert "Traceback" not in ended.stderr


def test_the_requirements_are_danqing_with_gunicorn() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if not line.startswith("#")]
    assert wanted == ["--constraint constraints.txt", "--editable .[gunicorn]"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [one.split(">")[0] for one in project["optional-dependencies"]["gunicorn"]] == ["gunicorn", "uvicorn-worker"]
