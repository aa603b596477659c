"""The page at `/`."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

from danqing.core.types import WorkerState
from danqing.http.dialect import DialectOptions
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
    assert '<a href="/docs">' in answer.text


async def test_it_shows_the_public_address(tmp_path: Path) -> None:
    house = House(tmp_path, options=DialectOptions(public_url="https://studio.example/base/"))

    answer = await ask(tmp_path, "GET", "/", RED, house=house)

    assert "curl https://studio.example/base/red -d" in answer.text


async def test_it_says_when_the_model_still_loads(tmp_path: Path) -> None:
    answer = await ask(tmp_path, "GET", "/", RED, house=House(tmp_path, state=WorkerState.STARTING))

    assert "still loading" in answer.text


async def test_it_loads_nothing_and_its_policy_allows_just_its_style(tmp_path: Path) -> None:
    answer = await ask(tmp_path, "GET", "/", RED)

    style = re.search(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert not re.search(r"<script|src=|href=\"http|@import|url\(", answer.text)


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [("text/html,application/xhtml+xml,*/*;q=0.8", True), ("application/json", False), ("*/*", False)],
)
async def test_only_who_asks_for_a_page_gets_one_where_a_dialect_has_a_root(
    tmp_path: Path, accept: str, is_page: bool
) -> None:
    rooted = a_dialect("rooted", "/rooted", root={"message": "runs"})

    answer = await ask(tmp_path, "GET", "/", RED, rooted, headers={"Accept": accept})

    assert answer.headers["vary"] == "Accept, Origin"
    if is_page:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
    else:
        assert answer.json() == {"message": "runs"}


async def test_a_hostile_host_is_escaped(tmp_path: Path) -> None:
    answer = await ask(tmp_path, "GET", "/", RED, headers={"Host": "<script>alert(1)</script>"})

    assert "<script" not in answer.text
