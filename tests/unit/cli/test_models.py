"""`danqing models`: what it lists and shows, and what it refuses."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from danqing.cli.main import build_app
from danqing.cli.options import UserError
from danqing.config import load_settings
from danqing.core.errors import DanqingError
from danqing.model_files import files_state, model_folder
from danqing.wiring import known_models
from tests.fakes.hub import COMMIT, Hub, empty_cache, hub_nearby

TURBO = "Tongyi-MAI/Z-Image-Turbo"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder without settings; an empty cache, and no hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    empty_cache(tmp_path / "cache", monkeypatch)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a tiny stand-in for Z-Image-Turbo and its ControlNet."""
    folder = tmp_path / "turbo"
    files = {
        "model_index.json": '{"vae": ["d", "V"]}',
        "vae/config.json": "{}",
        "vae/m.safetensors": "x",
        "vae/m.bin": "x",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    companion = known_models(load_settings()).find("z-image-turbo").companions[0]
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / str(companion.file)).write_text("n")
    with hub_nearby({TURBO: folder, companion.source: tmp_path / "net"}, monkeypatch) as server:
        yield server


def run(*arguments: str, answer: str | None = None) -> str:
    """What is printed. Raises what the command line would put into one line."""
    done = CliRunner().invoke(build_app(), ["models", *arguments], input=answer, catch_exceptions=True)
    if isinstance(done.exception, UserError | DanqingError):
        raise done.exception
    return done.output


def test_the_list_has_built_in_models_and_ones_own() -> None:
    Path("models.toml").write_text(
        "[models.mine]\nsource = 'Tongyi-MAI/Z-Image-Turbo'\n[models.away]\nsource = 'some-one/away'\n"
    )
    for arguments in ([], ["list"]):
        lines = {line.replace("*", " ").split()[0]: line for line in run(*arguments, "--model", "mine").splitlines()}
        assert {"sample", "sample-uint4", "z-image-turbo-int8", "mine", "flux1-dev"} <= set(lines)
        assert lines["mine"].startswith("*")
        assert not lines["sample"].startswith("*")
        assert "comes with Danqing" in lines["sample"]
        assert "the hub cannot be reached" in lines["away"]


def test_show_tells_what_is_known() -> None:
    text = run("show", "z-image-turbo", "--precision", "sdnq-int8")
    for words in (
        TURBO,
        "not downloaded",
        "sdnq-int8",
        "GPL-3.0",
        "text2img, img2img, fill",
        "64 to 2048",
        "default 9",
    ):
        assert words in text
    assert "about 20.5 GB" in run("show", "z-image-turbo")
    with pytest.raises(DanqingError, match="nothing is neither a known model"):
        run("show", "nothing")
    with pytest.raises(UserError, match="DANQING_PRECISION: 'int3'"):
        run("show", "sample", "--precision", "int3")


def test_a_wrong_models_file_is_told_in_one_line() -> None:
    Path("models.toml").write_text("[models.a]\nsorce = 'x/y'\n")
    for command in ([], ["show", "sample"], ["pull", "z-image-turbo"], ["rm", "z-image-turbo", "--yes"]):
        with pytest.raises(UserError, match=r"models\.toml: \[models\.a\]: sorce is not known; did you mean source\?"):
            run(*command)


def test_pull_and_rm(hub: Hub) -> None:
    said = run("pull", "z-image-turbo")

    assert f"{TURBO} at commit {COMMIT}: 3 files" in said
    assert "licence apache-2.0" in said
    assert f'revision = "{COMMIT}"' in said
    card = known_models(load_settings()).find("z-image-turbo")
    assert files_state(card).whole
    assert "vae/m.bin" not in hub.asked
    # Nothing goes without a yes
    assert "Removed" not in run("rm", "z-image-turbo", answer="n\n")
    assert files_state(card).whole
    assert "Removed" in run("rm", "z-image-turbo", answer="y\n")
    assert model_folder(card) is None
    with pytest.raises(UserError, match="z-image-turbo: nothing of it is in the hub's cache"):
        run("rm", "z-image-turbo", "--yes")


def test_pull_leaves_companions_alone_if_asked_to(hub: Hub) -> None:
    said = run("pull", "z-image-turbo", "--no-companions")
    assert said.count("at commit") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pull", "sample"], "sample is a folder on this disk: there is nothing to download"),
        (["rm", "sample-int8", "--yes"], "sample-int8 comes with Danqing and is not removed"),
        (["pull", "z-image-turbo"], "the hub cannot be reached: HF_HUB_OFFLINE is set"),
        (["pull", "some-one/else"], "it is not downloaded, and the hub cannot be reached"),
    ],
)
def test_what_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises((UserError, DanqingError), match=message):
        run(*arguments)


def test_folders_of_ones_own_are_never_removed(tmp_path: Path) -> None:
    Path("models.toml").write_text("[models.mine]\nsource = './mine'\n")
    (tmp_path / "mine" / "vae").mkdir(parents=True)
    (tmp_path / "mine" / "model_index.json").write_text('{"_class_name": "ZImagePipeline"}')
    (tmp_path / "mine" / "vae" / "config.json").write_text('{"block_out_channels": [1, 1]}')
    with pytest.raises(UserError, match="mine is a folder of yours"):
        run("rm", "mine", "--yes")
    assert (tmp_path / "mine" / "model_index.json").exists()
