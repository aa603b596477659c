"""The bundled model through the whole server: the seed document's own programs, `danqing generate`, a killed worker."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from danqing.engine.families.z_image.capabilities import SAMPLE
from tests.dialects.turbo.seed_programs import CURL, PYTHON, run_curl, run_python
from tests.e2e.servers import DEADLINE_S, PNG, HealthWatch, Server, a_server, clean_environment, until

SERVE = ("-m", "danqing", "serve", "--model", "sample", "--log-format", "json")


@pytest.fixture(scope="module", autouse=True)
def checkpoint() -> None:
    """The model is in the tree; a tree without it is for its makers only, and never what CI tests."""
    if not (Path(SAMPLE.source) / "model_index.json").exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{SAMPLE.source} has no model")
        pytest.skip("the sample checkpoint is not in this tree")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the sample model that is ready."""
    with a_server(tmp_path_factory.mktemp("sample"), command=SERVE) as server:
        server.start_ready()
        yield server


@pytest.mark.parametrize(("run", "script"), [(run_python, PYTHON[-1]), (run_curl, CURL[-1])], ids=["python", "curl"])
def test_the_seeds_complete_example_ends_in_a_picture(
    server: Server, tmp_path: Path, run: Callable[[str, str, Path], str], script: str
) -> None:
    # When the complete example of the seed document is run
    assert script.count("http://localhost:5000") >= 3  # it asks, waits and fetches
    printed = run(script, server.url, tmp_path)
    # Then it ends well, and its picture is there in full
    assert "图像已保存" in printed
    (picture,) = tmp_path.glob("*.png")
    with Image.open(picture) as image:
        image.load()
        assert (image.format, image.size, image.mode) == ("PNG", (1024, 1024), "RGB")
        assert np.asarray(image).std() > 5  # something is on it


def test_the_same_request_gives_the_same_file(server: Server) -> None:
    task_ids = [server.submit("two apples", side=300, seed=7) for _ in range(2)]
    assert task_ids[0] != task_ids[1]
    first, second = (server.picture(server.wait_for(task_id, "completed")["task_id"]) for task_id in task_ids)
    assert first.startswith(PNG)
    assert first == second
    # And another seed gives another
    other = server.submit("two apples", side=300, seed=8)
    server.wait_for(other, "completed")
    assert server.picture(other) != first


def test_pizza_on_a_blue_background_from_the_command_line_is_on_blue(tmp_path: Path) -> None:
    # When a picture is made with no server running
    done = subprocess.run(
        [sys.executable, "-m", "danqing", "generate", "pizza on a blue background", "-o", "a.png", "--model", "sample"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    # Then its rim is blue, and its middle is not
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.int16)
    height, width, _ = pixels.shape
    inside = np.zeros((height, width), bool)
    inside[height // 40 : -(height // 40), width // 40 : -(width // 40)] = True
    red, green, blue = np.median(pixels[~inside], axis=0)
    assert blue > red + 60, (red, green, blue)
    assert blue > green + 60, (red, green, blue)
    red, _, blue = np.median(pixels[height * 3 // 8 : height * 5 // 8, width * 3 // 8 : width * 5 // 8], axis=(0, 1))
    assert red > blue


def freeze_in_mid_job(server: Server) -> tuple[str, psutil.Process]:
    """A job of 50 steps and its worker, stopped before it could finish it."""
    (pid,) = server.worker_pids()
    worker = psutil.Process(pid)
    for _ in range(10):
        task_id = server.submit("a red apple", side=128, num_inference_steps=50)
        until(lambda task_id=task_id: server.has_begun(task_id), "a job on its way")
        worker.suspend()
        until(lambda: worker.status() == psutil.STATUS_STOPPED, "a worker that stands still")
        if server.task(task_id)["status"] == "processing":
            return task_id, worker
        worker.resume()  # it was quicker
    raise AssertionError("no job was caught in its steps")


def test_a_worker_killed_in_mid_job_costs_neither_the_job_nor_an_answer(server: Server) -> None:
    # Given a job in the middle of its 50 steps
    task_id, worker = freeze_in_mid_job(server)
    with HealthWatch(server) as health:
        # When its worker is killed with signal 9
        worker.kill()
        # Then the job ends in its picture
        server.wait_for(task_id, "completed")
    with Image.open(io.BytesIO(server.picture(task_id))) as image:
        assert image.size == (128, 128)
    # And the attempt really was lost, and the server answered throughout
    (lost,) = [line for line in map(json.loads, server.log.splitlines()) if line["event"] == "worker_lost"]
    assert (lost["pid"], lost["exit_status"], lost["jobs"]) == (worker.pid, -signal.SIGKILL, 1)
    assert not health.silent
    assert health.answers > 0
