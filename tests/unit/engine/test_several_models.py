"""Two tiny models on a CPU, in an engine that is told it has less memory than both of them take."""

import dataclasses
import json
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from structlog.testing import capture_logs

from danqing.core.capabilities import ModelCard
from danqing.core.errors import ModelLoadFailure, TooLargeForDevice
from danqing.engine.build import build_engine
from danqing.engine.catalogue import Catalogue
from danqing.engine.residency import Place
from danqing.engine.resident import ResidentEngine
from danqing.engine.spec import EngineSpec
from danqing.engine.weight_files import expected_bytes
from tests.contracts.engine import Album, Watcher, denoise, request_for

SIDE = 64  # of the default picture, so that its work counts for less than the weights


@pytest.fixture(scope="module")
def cards(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelCard, ModelCard]:
    other = tmp_path_factory.mktemp("checkpoints") / "other"
    shutil.copytree(tiny_folder, other)
    found = (Catalogue(str(folder)).default() for folder in (tiny_folder, other))
    small = [
        dataclasses.replace(card, defaults=dataclasses.replace(card.defaults, width=SIDE, height=SIDE))
        for card in found
    ]
    return small[0], small[1]


def loaded(cards: tuple[ModelCard, ...], memory_bytes: int | None) -> Generator[ResidentEngine]:
    engine = build_engine(EngineSpec(cards=cards, device="cpu", cpu_threads=1, memory_bytes=memory_bytes))
    assert isinstance(engine, ResidentEngine)
    engine.load()
    yield engine
    engine.unload()


def weights(card: ModelCard) -> int:
    return cast(int, expected_bytes(card, float_bytes=4))


def told(lines: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(line["event"], line["model"]) for line in lines if line["event"] in ("model_loaded", "model_evicted")]


def test_both_are_there_from_the_start_where_there_is_room(cards: tuple[ModelCard, ModelCard]) -> None:
    with capture_logs() as lines:
        for engine in loaded(cards, None):
            for card in (*cards, *cards):
                denoise(engine, request_for(card, num_inference_steps=1))
    assert told(cast(list[dict[str, object]], lines)) == [("model_loaded", "tiny"), ("model_loaded", "other")]


def test_else_they_take_turns_and_pictures_are_the_same(cards: tuple[ModelCard, ModelCard]) -> None:
    tiny, other = cards
    with capture_logs() as lines:
        for engine in loaded(cards, int(1.8 * weights(tiny))):
            made = [denoise(engine, request_for(card, num_inference_steps=1)) for card in (tiny, other, tiny)]
            # Then the models, whose weights are equal, make equal pictures, before and after
            assert made[0] == made[1] == made[2]
    # And the one that was used before left each time, and the default one alone was loaded at the start
    assert told(cast(list[dict[str, object]], lines)) == [
        ("model_loaded", "tiny"),
        ("model_evicted", "tiny"),
        ("model_loaded", "other"),
        ("model_evicted", "other"),
        ("model_loaded", "tiny"),
    ]


def test_the_device_tells_which_models_are_there_and_how_they_are_run(cards: tuple[ModelCard, ModelCard]) -> None:
    # Given an engine with room for one of two
    tiny, other = cards
    engines = loaded(cards, int(1.8 * weights(tiny)))
    engine = next(engines)
    for card in (tiny, other):
        denoise(engine, request_for(card, num_inference_steps=1))
        device = engine.device()
        (status,) = device.loaded
        assert device.models == (status.id,) == (card.id,)
        assert (status.placement, status.dtype, status.attention) == ("whole", "float32", "native")
        assert device.prompt_cache_bytes == EngineSpec(cards=cards).prompt_cache_bytes
    # When it is unloaded, then there is none
    assert list(engines) == []
    assert (engine.device().models, engine.device().loaded) == ((), ())


def test_a_size_that_the_device_cannot_hold_is_refused_and_the_next_picture_is_made(
    cards: tuple[ModelCard, ModelCard],
) -> None:
    tiny, _ = cards
    for engine in loaded((tiny,), int(1.8 * weights(tiny))):
        (refused,) = engine.denoise(
            [request_for(tiny, width=1024, height=1024)], read_image=Album().read, observers=[Watcher()]
        )
        assert isinstance(refused, TooLargeForDevice)
        assert refused.public_message.startswith("1024x1024 does not fit on this device with model tiny; the largest")
        width, height = (int(side) for side in refused.public_message.rstrip(".").rpartition(" ")[2].split("x"))
        assert denoise(engine, request_for(tiny, width=width, height=height, num_inference_steps=1)).width == width


def test_another_model_that_is_damaged_stops_the_start_as_the_default_does(
    cards: tuple[ModelCard, ModelCard], tmp_path: Path
) -> None:
    shutil.copytree(cards[0].source, tmp_path / "bad")
    (tmp_path / "bad" / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"damaged")
    bad = dataclasses.replace(cards[1], id="bad", source=str(tmp_path / "bad"))
    with pytest.raises(ModelLoadFailure):
        next(loaded((cards[0], bad), None))


def test_one_that_is_damaged_later_fails_its_own_pictures_only(
    cards: tuple[ModelCard, ModelCard], tmp_path: Path
) -> None:
    # Given a model that was left for its first use, and whose files are then cut
    tiny, folder = cards[0], tmp_path / "later"
    shutil.copytree(tiny.source, folder)
    later = dataclasses.replace(cards[1], id="later", source=str(folder))
    for engine in loaded((tiny, later), int(1.8 * weights(tiny))):
        first = denoise(engine, request_for(tiny, num_inference_steps=1))
        weights_file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
        weights_file.write_bytes(weights_file.read_bytes()[:-100])
        with pytest.raises(ModelLoadFailure):
            denoise(engine, request_for(later))
        assert denoise(engine, request_for(tiny, num_inference_steps=1)) == first


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_a_model_waits_on_the_host_and_what_pictures_take_is_kept(
    cards: tuple[ModelCard, ModelCard], tmp_path: Path
) -> None:
    # Given a GPU with room for one model, and for the work beside it
    tiny, other = cards
    file = tmp_path / "memory-peaks.json"
    limit = int(1.8 * weights(tiny)) + 64 * 1024 * 1024
    spec = EngineSpec(cards=cards, device="cuda", dtype="float32", memory_bytes=limit, peaks_file=file)
    engine = build_engine(spec)
    assert isinstance(engine, ResidentEngine)
    engine.load()
    residency = cast(Any, engine)._residency
    residency.use_alone(tiny.id)
    assert residency.place(other.id) in (Place.HOST, Place.DISK)
    # When both are used
    first = denoise(engine, request_for(tiny))
    denoise(engine, request_for(other))
    assert denoise(engine, request_for(tiny)) == first
    # Then it is known what a picture takes
    (_, taken), *_ = [(line["pictures"], line["working_bytes"]) for line in json.loads(file.read_text())]
    assert 0 < taken < limit
    engine.unload()
