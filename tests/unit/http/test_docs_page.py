"""`/docs` works without a network, and runs only what the server itself sends."""

import re
from pathlib import Path

import pytest

from danqing.http import docs_page
from tests.unit.http.made_up import a_dialect, ask

RED = a_dialect("red", "/red")


async def test_the_page_and_all_that_it_loads_are_there(tmp_path: Path) -> None:
    page = await ask(tmp_path, "GET", "/docs", RED, alone=True)

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "The &lt;red&gt; API" in page.text
    loaded = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert {Path(each).name for each in loaded} == {"swagger-ui-bundle.js", "swagger-ui.css", "start.js"}
    for path in loaded:
        file = await ask(tmp_path, "GET", path, RED, alone=True)
        assert file.status_code == 200
        assert file.headers["content-type"].startswith("text/css" if path.endswith(".css") else "text/javascript")
        assert file.headers["cache-control"].startswith("public, max-age=")
        assert file.headers["x-content-type-options"] == "nosniff"


async def test_its_policy_allows_no_script_but_the_servers(tmp_path: Path) -> None:
    page = await ask(tmp_path, "GET", "/docs", RED)

    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy and "http" not in policy and "sandbox" not in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|style=", page.text)


@pytest.mark.parametrize("name", ["x.js", "__init__.py", "..%2F__init__.py", "%2e%2e/__init__.py", "LICENSE", ""])
async def test_nothing_else_is_given_out(tmp_path: Path, name: str) -> None:
    answer = await ask(tmp_path, "GET", f"/docs/{docs_page.SWAGGER_UI_VERSION}/{name}", RED)

    assert answer.status_code == 404


def test_its_version_is_the_files() -> None:
    bundle = (Path(docs_page.__file__).parent / "swagger_ui" / "swagger-ui-bundle.js").read_text(encoding="utf-8")

    assert f'PACKAGE_VERSION:"{docs_page.SWAGGER_UI_VERSION}"' in bundle
