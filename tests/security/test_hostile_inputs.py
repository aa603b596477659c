"""A real server is sent what strangers send: each has its documented answer, and the server is none the worse for it.

`docs/hostile-inputs.md` lists them. Nothing is asked of the answers' time; memory is measured at the end.
"""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.e2e.servers import ROOT, Server, a_server, until
from tests.security.asking import Asker
from tests.security.hostile_pictures import PICTURES, TAKEN, Picture, opened
from tests.security.hostile_requests import Case, cases

MAX_RSS_KB = 300_000
CASES = cases()
INVALID = "参数验证失败"
SMALL = {"prompt": "p", "mode": "img2img", "width": 64, "height": 64, "num_inference_steps": 1}
WAYS = ["genserve, JSON", "genserve, form", "openai, form", "openai, JSON"]
PAGE = ROOT / "docs" / "hostile-inputs.md"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with a_server(tmp_path_factory.mktemp("hostile"), DANQING_MAX_QUEUE_SIZE="1000") as server:
        server.start_ready()
        yield server


@pytest.fixture
def asker(server: Server) -> Iterator[Asker]:
    """Afterwards the same process still answers."""
    yield Asker(server.url)
    assert server.process is not None and server.process.poll() is None
    assert requests.get(f"{server.url}/readyz", timeout=60).json() == {"ready": True}


@pytest.mark.parametrize("case", CASES, ids=[f"{case.where}: {case.name}" for case in CASES])
def test_a_request(asker: Asker, case: Case) -> None:
    case.send(asker).check(case.status, case.contains)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("picture", PICTURES, ids=[picture.name for picture in PICTURES])
def test_a_picture(asker: Asker, picture: Picture, way: str) -> None:
    content = picture.make()
    if way == "genserve, JSON":
        answer = asker.post_json("/generate", {**SMALL, "input_image": base64.b64encode(content).decode()})
    elif way == "genserve, form":
        answer = asker.http("POST", "/generate/img2img", data=SMALL, files={"input_image": ("a.png", content)})
    elif way == "openai, JSON":
        image = {"image_url": "data:;base64," + base64.b64encode(content).decode()}
        answer = asker.post_json("/v1/images/edits", {"prompt": "p", "size": "64x64", "images": [image]})
    else:
        data = {"prompt": "p", "size": "64x64"}
        answer = asker.http("POST", "/v1/images/edits", data=data, files={"image": ("a.png", content)})

    if picture.answer == TAKEN:
        answer.check(200, "")
    elif way == "openai, form":
        answer.check(400, f"image {picture.answer}")
        assert '"code":"INVALID_INPUT"' in answer.text
    elif way == "openai, JSON":
        answer.check(400, f"images[0].image_url {picture.answer}")
        assert '"code":"INVALID_INPUT"' in answer.text
    else:
        answer.check(400, f"{INVALID}: input_image {picture.answer}")


def test_nothing_is_left_behind(server: Server) -> None:
    """Of what was refused. Runs after all that."""
    staging = server.data_dir / "outputs" / ".danqing-staging"
    until(lambda: not list(staging.iterdir()), "an empty place")


def test_memory_stayed_low(server: Server) -> None:
    """At its highest, since the start: the kernel counts. Runs after all that."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        pytest.skip("there is no /proc")
    peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert peak is not None and int(peak[1]) < MAX_RSS_KB, peak


def test_log_lines_are_lines_of_ours(server: Server) -> None:
    """Whatever was in paths, prompts and headers: each line is a whole one, without prompts. Runs after all that."""
    assert "\x1b" not in server.log and "\0" not in server.log
    assert "DROP TABLE" not in server.log and "x" * 1000 not in server.log
    assert all(line.startswith("{") and line.endswith("}") for line in server.log.splitlines() if line)
    assert "Traceback" not in server.log


def rows() -> dict[str, list[str]]:
    """The lines of the page, by group."""
    groups: dict[str, list[str]] = {"Pictures": [f"| {p.name} | {p.answer} |" for p in PICTURES]}
    for case in CASES:
        said = f"{case.status}" + (f" `{case.contains}`" if case.contains else "")
        groups.setdefault(case.group, []).append(f"| {case.name} | {case.where} | {said} |")
    return groups


@pytest.mark.parametrize("group", list(rows()))
def test_the_page_tells_them_all(group: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    told = page.partition(f"## {group}\n")[2].partition("\n## ")[0]
    assert [line for line in told.splitlines() if line.startswith("| ")][1:] == rows()[group]


def test_there_are_enough() -> None:
    assert len(PICTURES) + len({(case.group, case.name) for case in CASES}) >= 60


def test_pictures_that_are_taken_come_back_as_pictures(asker: Asker) -> None:
    answer = requests.post(f"{asker.url}/generate", json={**SMALL, "mode": "text2img"}, timeout=60).json()
    opened(base64.b64decode(answer["image_base64"])).load()
