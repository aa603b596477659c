"""Downloads from a hub nearby, and removal of what came."""

import json
import shutil
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import pytest

from danqing.core.capabilities import Companion, ModelCard
from danqing.core.errors import ModelLoadFailure
from danqing.core.types import Mode
from danqing.model_files import (
    check_space,
    companion_state,
    files_state,
    model_folder,
    plan_downloads,
    plan_removal,
)
from tests.fakes.domain import a_card
from tests.fakes.hub import COMMIT, Hub, empty_cache, hub_nearby, reach

MODEL, NETWORK = "some-one/model", "some-one/net"
CARD = a_card(source=MODEL, companions=(Companion(mode=Mode.CONTROLNET, source=NETWORK, file="net.safetensors"),))
INDEX = json.dumps({"_class_name": "P", "transformer": ["d", "T"], "tokenizer": ["t", "K"]})
SHARD = "transformer/m-00001-of-00002.safetensors"
WEIGHT_MAP = json.dumps({"weight_map": {"a": Path(SHARD).name, "b": "m-00002-of-00002.safetensors"}})
FILES = {
    "model_index.json": INDEX,
    "transformer/config.json": "{}",
    "transformer/m.safetensors.index.json": WEIGHT_MAP,
    "transformer/m-00001-of-00002.safetensors": "a" * 3_000_000,
    "transformer/m-00002-of-00002.safetensors": "b" * 1000,
    "tokenizer/tokenizer.json": "{} ",
}
UNWANTED = ["README.md", "whole.safetensors", "transformer/m.bin"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with MODEL and NETWORK; an empty cache."""
    empty_cache(tmp_path / "cache", monkeypatch)
    for file, content in {**FILES, **dict.fromkeys(UNWANTED, "x")}.items():
        (tmp_path / "model" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / file).write_text(content)
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "net.safetensors").write_text("n" * 2000)
    with hub_nearby({MODEL: tmp_path / "model", NETWORK: tmp_path / "net"}, monkeypatch) as server:
        yield server


def pull(card: ModelCard) -> list[Path]:
    downloads = plan_downloads(card, card.companions)
    check_space(downloads)
    return [download.fetch() for download in downloads]


def test_what_is_pulled_is_found_by_the_engine_without_a_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    model, network = plan_downloads(CARD, CARD.companions)
    assert (model.commit, model.licence, set(model.files)) == (COMMIT, "apache-2.0", set(FILES))
    assert model.size_bytes == sum(map(len, FILES.values()))
    assert (network.size_bytes, network.missing_bytes) == (2000, 2000)
    assert not files_state(CARD).whole

    folder, _ = pull(CARD)

    reach("http://127.0.0.1:9", monkeypatch)
    assert folder.name == COMMIT
    assert model_folder(CARD) == model_folder(replace(CARD, revision=COMMIT)) == folder
    assert files_state(CARD).whole
    assert companion_state(CARD.companions[0]).whole
    assert {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()} == set(FILES)


def test_what_is_whole_is_not_downloaded_again(hub: Hub) -> None:
    # Given a pull during which the connection broke for good
    hub.breaks[SHARD] = [0] * 10
    del hub.repositories[NETWORK]
    card = replace(CARD, companions=())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", lambda _: None)  # the library waits between its tries
        with pytest.raises(ModelLoadFailure, match="not downloaded, or not all of it: the hub cannot be reached"):
            pull(card)
    assert not files_state(card).whole
    hub.breaks.clear()
    hub.sent.clear()
    # When it is pulled again
    assert plan_downloads(card, ())[0].missing_bytes < sum(map(len, FILES.values()))
    pull(card)
    # Then it goes on
    assert files_state(card).whole
    assert (SHARD, 0) in hub.sent
    assert not {"model_index.json", "tokenizer/tokenizer.json"} & {name for name, _ in hub.sent}


def test_a_connection_that_breaks_is_taken_up_within_the_file(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    hub.breaks[SHARD] = [1_000_000, 500_000]

    folder, _ = pull(CARD)

    assert (folder / SHARD).read_text() == FILES[SHARD]
    begins = [begin for name, begin in hub.sent if name == SHARD]
    assert len(begins) == 3
    assert begins == [0, 1_000_000, 1_500_000]


def test_a_pinned_revision_is_pulled_as_it_is_pinned(hub: Hub) -> None:
    card = replace(CARD, revision=COMMIT, companions=())

    assert [folder.name for folder in pull(card)] == [COMMIT]

    assert files_state(card).whole
    with pytest.raises(ModelLoadFailure, match="some-one/model has no such revision on the hub"):
        plan_downloads(replace(card, revision="f" * 40), ())


def test_there_must_be_room_for_all_of_it(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads = plan_downloads(CARD, CARD.companions)
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 0, 1_003_000_000))
    with pytest.raises(ModelLoadFailure, match=r"0\.0 GB are to be downloaded, and .* has 1\.0 GB free, of which 1 GB"):
        check_space(downloads)
    check_space(downloads[1:])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "some-one/gated",
            "some-one/gated is gated: accept its terms on https://huggingface.co/some-one/gated and run",
        ),
        ("some-one/nothing", "some-one/nothing: the hub shows no such model"),
        (NETWORK, "some-one/net has no model_index.json: it is no diffusers model"),
    ],
)
def test_what_cannot_be_pulled(hub: Hub, source: str, message: str) -> None:
    hub.repositories["some-one/gated"] = hub.repositories[MODEL]
    hub.gated.add("some-one/gated")
    with pytest.raises(ModelLoadFailure, match=message):
        pull(a_card(source=source))


def test_weights_that_are_no_safetensors_are_not_pulled(hub: Hub) -> None:
    for shard in hub.repositories[MODEL].glob("transformer/*.safetensors"):
        shard.unlink()
    with pytest.raises(ModelLoadFailure, match="some-one/model cannot be used: transformer/ has no weights as plain"):
        pull(CARD)
    assert not hub.sent or {name for name, _ in hub.sent} == {"model_index.json"}


def test_without_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_cache(tmp_path, monkeypatch)
    with pytest.raises(ModelLoadFailure, match="the hub cannot be reached: HF_HUB_OFFLINE is set"):
        pull(CARD)
    reach("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(ModelLoadFailure, match="the hub cannot be reached") as caught:
        pull(CARD)
    assert "127.0.0.1" not in str(caught.value)


def test_what_was_pulled_can_be_removed(hub: Hub) -> None:
    pull(CARD)
    # Given another model with the same ControlNet
    other = a_card(id="other", source="some-one/other", companions=CARD.companions)

    removal = plan_removal(CARD, [other])

    assert (removal.repositories, removal.kept, removal.sharers) == ((MODEL,), (NETWORK,), ())
    assert removal.size_bytes == sum(map(len, FILES.values()))
    removal.execute()
    assert not files_state(CARD).whole
    assert model_folder(CARD) is None
    assert companion_state(CARD.companions[0]).whole


def test_removal_takes_companions_along_and_names_who_loses_too(hub: Hub) -> None:
    pull(CARD)
    same = a_card(id="same", source=MODEL)

    removal = plan_removal(CARD, [same])

    assert (removal.repositories, removal.kept, removal.sharers) == ((MODEL, NETWORK), (), ("same",))
    removal.execute()
    assert not companion_state(CARD.companions[0]).whole
    assert plan_removal(CARD, [same]).repositories == ()


def test_nothing_to_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_cache(tmp_path / "none", monkeypatch)
    removal = plan_removal(CARD, [])
    assert (removal.repositories, removal.size_bytes) == ((), 0)
    removal.execute()
