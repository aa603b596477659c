"""`danqing bench uploads` against a real server."""

import re
from pathlib import Path

import pytest

from danqing.cli import bench
from danqing.cli.options import UserError
from danqing.core.types import Mode
from tests.unit.cli.genserve_house import a_server, danqing


@pytest.mark.parametrize("extent", ["simple", "full"])
def test_both_ways_side_by_side(tmp_path: Path, extent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SIMPLE_SIDES", (128,))
    monkeypatch.setattr(bench, "FULL_SIDES", (64, 128))

    with a_server(tmp_path) as (url, house):
        done = danqing("bench", "uploads", extent, "--url", url)

    assert done.exit_code == 0, done.output
    # Then base64 takes a third more
    ratios = [float(found) for found in re.findall(r"JSON / form +([0-9.]+) x", done.output)]
    assert len(ratios) == {"simple": 1, "full": 2}[extent]
    assert all(1.25 < ratio < 1.4 for ratio in ratios)
    # And no line is wider than a terminal, which would break it
    assert len([line for line in done.output.splitlines() if line.startswith("128x128 ")]) == 1
    assert not re.search(r"^ +[0-9.]+\)", done.output, re.MULTILINE)
    # And each picture was sent as often as said, after one that does not count
    requests = {"simple": 1 + 2, "full": 1 + 2 * 2 * bench.FULL_REPEATS}[extent]
    assert len(house.store.matching(lambda job: job.request.mode is Mode.IMG2IMG)) == requests
    assert ("(" in done.output.replace("(base64)", "")) == (extent == "full")


def test_a_server_that_cannot_is_told_as_such(tmp_path: Path) -> None:
    with a_server(tmp_path, modes=frozenset({Mode.TEXT2IMG})) as (url, _):
        done = danqing("bench", "uploads", "--url", url)

    assert isinstance(done.exception, UserError)
    assert "Not supported: img2img" in str(done.exception)
