"""The page at `/`."""

import gzip
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from danqing.core.types import WorkerState
from danqing.http.dialect import DialectOptions
from danqing.http.keys import Keys
from danqing.http.web_files import WebFile, WebFiles
from tests.dialects.house import House
from tests.unit.http.made_up import a_dialect, ask

RED = a_dialect("red", "/red", example="curl {url}/red -d '{\"a\": 1}'")


async def test_it_says_what_runs_and_how_to_ask(tmp_path: Path) -> None:
    answer = await ask(tmp_path, "GET", "/", RED, a_dialect("grey", "/grey"))

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<strong>Tiny</strong>, ready" in answer.text
    assert "The &lt;red&gt; API" in answer.text
    assert "curl http://danqing.test/red -d &#x27;{&quot;a&quot;: 1}&#x27;" in answer.text
    assert "grey" not in answer.text
    assert '<a href="docs">' in answer.text


async def test_it_shows_the_public_address(tmp_path: Path) -> None:
    house = House(tmp_path, options=DialectOptions(public_url="https://studio.example/base/"))

    answer = await ask(tmp_path, "GET", "/", RED, house=house)

    assert "curl https://studio.example/base/red -d" in answer.text


async def test_it_says_when_the_model_still_loads(tmp_path: Path) -> None:
    answer = await ask(tmp_path, "GET", "/", RED, house=House(tmp_path, state=WorkerState.STARTING))

    assert "still loading" in answer.text


async def test_it_loads_its_own_files_only_and_has_no_script_or_style_of_its_own(tmp_path: Path) -> None:
    house = House(tmp_path)
    answer = await ask(tmp_path, "GET", "/", RED, house=house)

    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert not re.search(r"<style|<script(?![^>]* src=)[^>]*>|\son\w+=|href=\"http|src=\"http", answer.text)
    named = re.findall(r'(?:src|href)="(web/[^"]+)"', answer.text)
    assert len(named) > 20
    for path in named:
        file = await ask(tmp_path, "GET", f"/{path}", RED, house=house)
        assert file.status_code == 200, path
        assert "immutable" in file.headers["cache-control"]


async def test_its_files_are_open_to_all_and_it_asks_for_a_key_itself(tmp_path: Path) -> None:
    house = House(tmp_path, keys=Keys(enabled=True, ordinary=frozenset({"key"})))
    page = await ask(tmp_path, "GET", "/", RED, house=house)
    script = re.search(r'src="(web/[^"]+/app.js)"', page.text)
    assert script is not None

    assert (page.status_code, (await ask(tmp_path, "GET", f"/{script[1]}", RED, house=house)).status_code) == (200, 200)


async def test_a_file_is_sent_gzipped_once_and_not_again(tmp_path: Path) -> None:
    house = House(tmp_path)
    digest = WebFiles().digest
    path = f"/web/{digest}/css/base.css"
    plain = await ask(tmp_path, "GET", path, RED, house=house, headers={"Accept-Encoding": "identity"})
    packed = await ask(tmp_path, "GET", path, RED, house=house, headers={"Accept-Encoding": "gzip"})
    again = await ask(tmp_path, "GET", path, RED, house=house, headers={"If-None-Match": plain.headers["etag"]})

    assert (plain.headers["content-type"], packed.headers["content-encoding"]) == ("text/css; charset=utf-8", "gzip")
    assert packed.text == plain.text  # the client has unpacked it
    assert int(packed.headers["content-length"]) == len(gzip.compress(plain.content, 9, mtime=0))
    assert (again.status_code, again.content) == (304, b"")


async def test_a_page_of_another_version_gets_todays_files_which_are_not_kept(tmp_path: Path) -> None:
    old = await ask(tmp_path, "GET", "/web/000000000000/app.js", RED)
    none = [await ask(tmp_path, "GET", f"/web/0/{name}", RED) for name in ("none.js", "../app.py", "vendor/README.md")]

    assert (old.status_code, old.headers["cache-control"]) == (200, "no-cache")
    assert [answer.status_code for answer in none] == [404, 404, 404]


async def test_the_first_paint_needs_less_than_100_kb(tmp_path: Path) -> None:
    answer = await ask(tmp_path, "GET", "/", RED, headers={"Accept-Encoding": "identity"})
    named = set(re.findall(r'(?:src|href)="web/[^/"]+/([^"]+)"', answer.text))
    files = WebFiles().files

    # What the page names is what its scripts import before they do anything, and no other
    scripts = {name for name in named if name.endswith((".js", ".mjs"))}
    assert scripts == imported_by("app.js", files) | {"theme.js"}
    # And that is small
    packed = sum(len(file.gzipped or file.content) for name, file in files.items() if name in named)
    assert packed + len(gzip.compress(answer.content)) < 100_000


def imported_by(name: str, files: Mapping[str, WebFile]) -> set[str]:
    """Itself, and what it and those import, but for what they fetch later."""
    found: set[str] = set()
    left = [name]
    while left:
        script = left.pop()
        found.add(script)
        paths = re.findall(r'^(?:import|export)\b[^;]*?"(\.[^"]+)";$', files[script].content.decode(), re.MULTILINE)
        near = {posixpath.normpath(posixpath.join(posixpath.dirname(script), path)) for path in paths}
        left += near - found
    return found


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [("text/html,application/xhtml+xml,*/*;q=0.8", True), ("application/json", False), ("*/*", False)],
)
async def test_only_who_asks_for_a_page_gets_one_where_a_dialect_has_a_root(
    tmp_path: Path, accept: str, is_page: bool
) -> None:
    rooted = a_dialect("rooted", "/rooted", root={"message": "runs"})

    answer = await ask(tmp_path, "GET", "/", RED, rooted, headers={"Accept": accept})

    assert answer.headers["vary"] == "Accept, Accept-Encoding, Origin"
    if is_page:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
    else:
        assert answer.json() == {"message": "runs"}


async def test_a_hostile_host_is_escaped(tmp_path: Path) -> None:
    answer = await ask(tmp_path, "GET", "/", RED, headers={"Host": "<script>alert(1)</script>"})

    assert "alert(1)" not in answer.text.replace("&lt;script&gt;alert(1)", "")
