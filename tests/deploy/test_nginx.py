"""The reverse proxy's configuration: nginx reads it where nginx is there, and its limits fit the server's."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from danqing.config import Settings
from danqing.core.images import MAX_IMAGE_BYTES

FOLDER = Path(__file__).parents[2] / "deploy"
SERVER = FOLDER / "nginx/danqing.conf"


def value(name: str) -> str:
    (only,) = re.findall(rf"^\s*{name} (.+);", SERVER.read_text("utf-8"), re.MULTILINE)
    return only


def test_it_waits_longer_than_the_server_and_takes_more() -> None:
    assert float(value("proxy_read_timeout").removesuffix("s")) > Settings().request_timeout_s
    assert int(value("client_max_body_size").removesuffix("m")) * 1024**2 > 2 * MAX_IMAGE_BYTES


def test_a_post_that_was_sent_is_never_sent_again() -> None:
    assert "non_idempotent" not in value("proxy_next_upstream")


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not there")
def test_nginx_reads_it(tmp_path: Path) -> None:
    # Given nginx's own file with ours in it; names of folders that it could otherwise not write
    folders = "".join(f"{kind}_temp_path {tmp_path};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    ours = f"include {FOLDER}/nginx/upstream.conf; include {SERVER};"
    main = tmp_path / "nginx.conf"
    main.write_text(f"error_log stderr; pid {tmp_path}/pid; events {{}}\nhttp {{ access_log off; {folders} {ours} }}\n")
    # When it is asked whether that can be read
    asked = subprocess.run(["nginx", "-t", "-c", main], capture_output=True, text=True, timeout=30, check=False)
    # Then it can
    assert asked.returncode == 0, asked.stderr
