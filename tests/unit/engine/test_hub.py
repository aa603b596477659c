"""Checkpoints named by a hub id: from a cache folder laid out as the hub's library does it, or from a hub nearby."""

import http.server
import json
import shutil
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import huggingface_hub.constants
import pytest

from danqing.core.capabilities import FreeSizes, TrainedSizes
from danqing.core.errors import ModelLoadFailure
from danqing.engine.catalogue import Catalogue
from tests.unit.engine.tiny_checkpoint import MULTIPLE_OF

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "Some-One/My_Z-Image"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the hub cannot be reached."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def cached(cache: Path, checkpoint: Path) -> Path:
    """The checkpoint as the main commit of REPO."""
    repository = cache / "models--Some-One--My_Z-Image"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    folder = repository / "snapshots" / COMMIT
    shutil.copytree(checkpoint, folder)
    return folder


class Hub(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Answers for the files of a folder as the hub does, and remembers which were asked for."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.folder = folder
        self.asked: set[str] = set()


class HubHandler(http.server.BaseHTTPRequestHandler):
    """`/{repo}/resolve/{revision}/{file}`."""

    def do_GET(self) -> None:
        hub = cast(Hub, self.server)
        head, _, rest = self.path.partition("/resolve/")
        filename = rest.partition("/")[2]
        hub.asked.add(filename)
        file = hub.folder / filename
        there = head == f"/{REPO}" and bool(filename) and file.is_file()
        content = file.read_bytes() if there else b""
        self.send_response(200 if there else 404)
        if not there:
            self.send_header("X-Error-Code", "EntryNotFound" if head == f"/{REPO}" else "RepoNotFound")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hash(content):x}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


def reach(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is at that address."""
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def hub(cache: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub within reach that has a copy of the tiny checkpoint as REPO."""
    shutil.copytree(tiny_folder, tmp_path / "repository")
    with Hub(tmp_path / "repository") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        reach(f"http://127.0.0.1:{server.server_port}", monkeypatch)
        yield server
        server.shutdown()
        thread.join(20)


def test_a_downloaded_checkpoint_needs_no_hub(cache: Path, tiny_folder: Path) -> None:
    cached(cache, tiny_folder)

    card = Catalogue(REPO).default()

    assert (card.id, card.family, card.source, card.revision) == ("my_z-image", "z_image", REPO, COMMIT)
    assert card.capabilities.size_rules == FreeSizes(multiple_of=MULTIPLE_OF, min_side=64, max_pixels=2048 * 2048)


def test_a_downloaded_checkpoint_may_say_more_of_itself(cache: Path, tiny_folder: Path) -> None:
    folder = cached(cache, tiny_folder)
    (folder / "danqing.json").write_text(json.dumps({"title": "Mine", "trained_sizes": [[64, 64]]}))

    card = Catalogue(REPO).default()

    assert (card.title, card.capabilities.size_rules) == ("Mine", TrainedSizes(sizes=((64, 64),)))


def test_what_is_not_downloaded_while_the_hub_is_away(cache: Path) -> None:
    with pytest.raises(ModelLoadFailure, match=r"Some-One/My_Z-Image .* not downloaded, and the hub cannot be reached"):
        Catalogue(REPO)


def test_a_hub_that_refuses_connections(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reach("http://127.0.0.1:9", monkeypatch)

    with pytest.raises(ModelLoadFailure, match="the hub cannot be reached") as caught:
        Catalogue(REPO)
    assert "127.0.0.1" not in caught.value.public_message


def test_another_kind_of_model_is_refused(cache: Path, tiny_folder: Path) -> None:
    folder = cached(cache, tiny_folder)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))

    with pytest.raises(ModelLoadFailure, match=r"My_Z-Image is a FluxPipeline; supported: ZImagePipeline\."):
        Catalogue(REPO)


def test_from_the_hub_come_only_the_descriptions(cache: Path, hub: Hub) -> None:
    card = Catalogue(REPO).default()

    assert (card.id, card.source, card.revision) == ("my_z-image", REPO, COMMIT)
    assert hub.asked == {"model_index.json", "vae/config.json", "danqing.json"}
    # And the next time it is not asked
    hub.asked.clear()
    assert Catalogue(REPO).default() == card
    assert hub.asked == set()


def test_the_hub_may_say_more_of_a_checkpoint(cache: Path, hub: Hub) -> None:
    (hub.folder / "danqing.json").write_text(json.dumps({"title": "Mine"}))

    assert Catalogue(REPO).default().title == "Mine"


def test_a_repository_that_is_no_diffusers_model(cache: Path, hub: Hub) -> None:
    (hub.folder / "model_index.json").unlink()

    with pytest.raises(ModelLoadFailure, match=r"My_Z-Image has no model_index\.json"):
        Catalogue(REPO)


def test_a_repository_that_is_not_there(cache: Path, hub: Hub) -> None:
    with pytest.raises(ModelLoadFailure, match=r"someone/else is neither .* the hub shows no such model"):
        Catalogue("someone/else")


def test_a_name_that_no_hub_has(cache: Path) -> None:
    with pytest.raises(ModelLoadFailure, match="shows no such model"):
        Catalogue("a..b/c--d")
