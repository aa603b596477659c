"""The document's JavaScript runs as it stands in Node; only host and port are changed."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from danqing.dialects.live.dialect import live
from tests.dialects.house import served
from tests.dialects.live.running import a_house
from tests.dialects.live.seed_document import JAVASCRIPT, TEXT

NODE = shutil.which("node")
DEADLINE_S = 90
CONNECT, COMPLETE = JAVASCRIPT
HOST = "localhost:8004"

pytestmark = pytest.mark.skipif(NODE is None, reason="there is no node")


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with served(lambda: a_house(tmp_path / "outputs", automatic=True), [live()]) as address:
        yield address


def node(script: Path) -> "subprocess.Popen[str]":
    assert NODE is not None
    has_sockets = subprocess.run([NODE, "-p", "typeof WebSocket"], capture_output=True, text=True, check=True)
    options = [] if "function" in has_sockets.stdout else ["--experimental-websocket"]
    environment = {**os.environ, "NO_PROXY": "*", "NODE_NO_WARNINGS": "1"}
    return subprocess.Popen([NODE, *options, str(script)], stdout=subprocess.PIPE, text=True, env=environment)


def test_the_first_line_is_that_of_the_complete_example() -> None:
    assert len(JAVASCRIPT) == 2
    assert CONNECT.strip() == COMPLETE.splitlines()[0]


@pytest.mark.timeout(2 * DEADLINE_S)
def test_the_complete_example_gets_its_picture(url: str, tmp_path: Path) -> None:
    assert HOST in COMPLETE
    script = tmp_path / "example.mjs"
    script.write_text(COMPLETE.replace(HOST, url.removeprefix("http://")), "utf-8")

    # When it runs until it has its picture; it would go on listening
    printed: list[str] = []
    with node(script) as process:
        assert process.stdout is not None
        for line in process.stdout:
            printed.append(line.strip())
            if line.startswith("图片就绪"):
                break
        process.kill()

    # Then it printed the states, some steps, and the address of the picture, which it built itself
    told = [line for line in printed if line.startswith("[")]
    assert [line.split()[0] for line in told] == ["[pending]", "[processing]", "[generated]", "[completed]"]
    assert "进度: 100% (9/9)" in printed
    address = printed[-1].removeprefix("图片就绪: ")
    assert re.fullmatch(
        re.escape(url) + r"/api/image/\d{8}-a-cute-cat-wearing-sunglasses-[0-9a-f]{8}-upscaled\.png", address
    )

    # Then that address, and so the document's last example, answers the picture
    documented = re.search(r"^GET (http://localhost:8004\S+)$", TEXT, re.MULTILINE)
    assert documented is not None
    assert re.sub(r"\d{8}", "", documented[1].replace(HOST, "")) == re.sub(
        r"-[0-9a-f]{8}-up", "-abc12345-up", re.sub(r"/\d{8}-", "/-", address.replace(url.removeprefix("http://"), ""))
    )
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(address, timeout=60)
    assert (answer.status_code, answer.content[:4]) == (200, b"\x89PNG")
