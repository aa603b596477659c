"""Checkpoints named by a hub id: from a cache folder laid out as the hub's library does it, or from a hub nearby."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from danqing.core.capabilities import FreeSizes, TrainedSizes
from danqing.core.errors import ModelLoadFailure
from danqing.core.model_entries import ModelEntry
from danqing.engine.catalogue import Catalogue
from danqing.engine.known_models import KnownModels
from tests.fakes.hub import COMMIT, Hub, empty_cache, hub_nearby, reach
from tests.unit.engine.tiny_checkpoint import MULTIPLE_OF

REPO = "Some-One/My_Z-Image"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the hub cannot be reached."""
    empty_cache(tmp_path / "hub", monkeypatch)
    return tmp_path / "hub"


def cached(cache: Path, checkpoint: Path) -> Path:
    """The checkpoint as the main commit of REPO."""
    repository = cache / "models--Some-One--My_Z-Image"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    folder = repository / "snapshots" / COMMIT
    shutil.copytree(checkpoint, folder)
    return folder


@pytest.fixture
def hub(cache: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub within reach that has a copy of the tiny checkpoint as REPO."""
    shutil.copytree(tiny_folder, tmp_path / "repository")
    with hub_nearby({REPO: tmp_path / "repository"}, monkeypatch) as server:
        yield server


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
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "OtherPipeline"}))

    with pytest.raises(ModelLoadFailure, match=r"My_Z-Image is a OtherPipeline; supported: ZImagePipeline, "):
        Catalogue(REPO)


def test_from_the_hub_come_only_the_descriptions(cache: Path, hub: Hub) -> None:
    card = Catalogue(REPO).default()

    assert (card.id, card.source, card.revision) == ("my_z-image", REPO, COMMIT)
    assert hub.asked == {"model_index.json", "vae/config.json", "danqing.json", "controlnet/config.json"}
    # And the next time it is not asked
    hub.asked.clear()
    assert Catalogue(REPO).default() == card
    assert hub.asked == set()


def test_the_hub_may_say_more_of_a_checkpoint(cache: Path, hub: Hub) -> None:
    (hub.repositories[REPO] / "danqing.json").write_text(json.dumps({"title": "Mine"}))

    assert Catalogue(REPO).default().title == "Mine"


def test_a_repository_that_is_no_diffusers_model(cache: Path, hub: Hub) -> None:
    (hub.repositories[REPO] / "model_index.json").unlink()

    with pytest.raises(ModelLoadFailure, match=r"My_Z-Image has no model_index\.json"):
        Catalogue(REPO)


def test_a_repository_that_is_not_there(cache: Path, hub: Hub) -> None:
    with pytest.raises(ModelLoadFailure, match=r"someone/else is neither .* the hub shows no such model"):
        Catalogue("someone/else")


def test_a_name_that_no_hub_has(cache: Path) -> None:
    with pytest.raises(ModelLoadFailure, match="shows no such model"):
        Catalogue("a..b/c--d")


def test_a_gated_repository_says_where_its_terms_are(hub: Hub) -> None:
    hub.gated.add(REPO)

    with pytest.raises(ModelLoadFailure, match=rf"{REPO} is gated: accept its terms on https://huggingface.co/{REPO}"):
        Catalogue(REPO)


def test_an_entry_of_a_revision_is_looked_up_at_that_one(hub: Hub) -> None:
    def described(revision: str) -> str | None:
        entry = ModelEntry(place="models.toml: [models.mine]", id="mine", source=REPO, revision=revision)
        return KnownModels(entries=[entry]).find("mine").revision

    assert described(COMMIT) == COMMIT
    with pytest.raises(ModelLoadFailure, match="has no such revision"):
        described("f" * 40)


def test_a_built_in_model_is_served_at_the_commit_that_is_on_the_disk(cache: Path) -> None:
    assert Catalogue("z-image-turbo").default().revision is None
    repository = cache / "models--Tongyi-MAI--Z-Image-Turbo"
    for file, content in {"refs/main": COMMIT, f"snapshots/{COMMIT}/model_index.json": "{}"}.items():
        (repository / file).parent.mkdir(parents=True, exist_ok=True)
        (repository / file).write_text(content)

    assert Catalogue("z-image-turbo").default().revision == COMMIT
