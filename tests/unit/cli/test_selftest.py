"""`danqing selftest img2img` against a real server."""

from pathlib import Path

import pytest
from PIL import Image

from danqing.cli.trial_pictures import keeps, scene, scene_edges, scene_mask, size_of
from danqing.core.errors import OutOfMemory
from danqing.core.types import Mode
from tests.unit.cli.genserve_house import MODES, a_server, danqing_alone

OPTIONS = ("--size", "64", "--steps", "2")


def test_all_modes(tmp_path: Path) -> None:
    out = tmp_path / "new" / "pictures"
    with a_server(tmp_path) as (url, _):
        done = danqing_alone("selftest", "img2img", "--url", url, "--out", str(out), *OPTIONS)

    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[:2] for line in lines] == [
        ["text2img", "passed"],
        ["img2img", "passed"],
        ["fill", "passed"],
        ["controlnet", "not"],
    ]
    assert done.returncode == 0
    assert {path.name for path in out.iterdir()} == {"text2img.png", "img2img.png", "fill.png"}
    with Image.open(out / "fill.png") as picture:
        assert picture.size == (64, 64)


@pytest.mark.parametrize(("mode", "exit_code"), [("text2img", 0), ("fill", 0), ("controlnet", 1)])
def test_one_mode(tmp_path: Path, mode: str, exit_code: int) -> None:
    with a_server(tmp_path) as (url, _):
        done = danqing_alone("selftest", "img2img", mode, "--url", url, *OPTIONS)

    assert done.returncode == exit_code, done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_controlnet_where_the_model_can(tmp_path: Path) -> None:
    with a_server(tmp_path, modes=MODES | {Mode.CONTROLNET}) as (url, _):
        done = danqing_alone("selftest", "img2img", "controlnet", "--url", url, *OPTIONS)

    assert done.returncode == 0, done.stdout
    assert done.stdout.split()[:2] == ["controlnet", "passed"]


def test_a_server_that_fails(tmp_path: Path) -> None:
    with a_server(tmp_path) as (url, house):
        house.painter.failure = OutOfMemory()
        done = danqing_alone("selftest", "img2img", "text2img", "--url", url, *OPTIONS)

    assert done.returncode == 1
    assert "failed" in done.stdout
    assert "GPU memory" in done.stdout


def test_an_unknown_mode_is_refused() -> None:
    assert danqing_alone("selftest", "img2img", "magic").returncode == 2


def test_what_is_kept_is_seen_to_the_pixel(tmp_path: Path) -> None:
    original, mask = scene(64), scene_mask(64)
    assert keeps(original, original, mask)

    def changed_at(spot: tuple[int, int]) -> bytes:
        with Image.open(tmp_path / "scene.png") as opened:
            opened.putpixel(spot, (1, 2, 3))
            opened.save(tmp_path / "changed.png")
        return (tmp_path / "changed.png").read_bytes()

    (tmp_path / "scene.png").write_bytes(original)
    assert keeps(changed_at((32, 24)), original, mask)  # within the sun
    assert not keeps(changed_at((0, 0)), original, mask)


def test_the_drawn_pictures_have_their_size() -> None:
    assert {size_of(draw(96)) for draw in (scene, scene_mask, scene_edges)} == {(96, 96)}
    assert size_of(scene(96)[:300]) is None
    assert size_of(b"no picture") is None
