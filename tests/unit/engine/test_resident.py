"""The real engine, on tiny random weights, through the ordinary loading path."""

import gc
import io
import json
import os
import shutil
import weakref
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel
from PIL import Image

from danqing.core.capabilities import ModelCard
from danqing.core.errors import DanqingError, EngineFailure, ModelLoadFailure, OutOfMemory
from danqing.core.types import LatentPicture, Mode, RawPicture
from danqing.engine.build import build_engine
from danqing.engine.catalogue import Catalogue
from danqing.engine.device import Device
from danqing.engine.resident import ResidentEngine
from danqing.engine.spec import EngineSpec
from tests.contracts.engine import (
    EVERY_STEP,
    Album,
    EngineContract,
    Watcher,
    computed,
    denoise,
    make,
    original,
    pixels,
    request_for,
    starting,
)
from tests.contracts.engine_control import EngineControlContract
from tests.contracts.engine_inputs import EngineInputsContract, EnginePreviewsContract
from tests.unit.engine.tiny_checkpoint import TRAINED_SIZES


def loaded(spec: EngineSpec) -> Generator[ResidentEngine]:
    engine = build_engine(spec)
    assert isinstance(engine, ResidentEngine)
    engine.load()
    yield engine
    engine.unload()


@pytest.fixture(scope="module")
def card(tiny_folder: Path) -> ModelCard:
    return Catalogue(str(tiny_folder)).default()


@pytest.fixture(scope="module")
def engine(card: ModelCard) -> Generator[ResidentEngine]:
    yield from loaded(EngineSpec(cards=(card,), device="cpu", cpu_threads=1))


def test_an_engine_loads_on_its_device_and_on_no_other(card: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    monkeypatch.setattr(Device, "make_current", lambda self: happened.append("current"))
    monkeypatch.setattr(Device, "enforce_limit", lambda self: happened.append("limited"))
    for _ in loaded(EngineSpec(cards=(card,), device="cpu", cpu_threads=1)):
        assert happened == ["current", "limited"]


class TestFreeSizes(EngineContract, EngineInputsContract, EnginePreviewsContract, EngineControlContract):
    """A model that makes any size."""

    implementation = ResidentEngine


class TestTrainedSizes(EngineContract, EngineInputsContract, EnginePreviewsContract, EngineControlContract):
    """A model of a few sizes; the rest is enlarged."""

    implementation = ResidentEngine

    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
        folder = tmp_path_factory.mktemp("checkpoints") / "few"
        shutil.copytree(tiny_folder, folder)
        (folder / "danqing.json").write_text(json.dumps({"trained_sizes": TRAINED_SIZES, "controlnet": "controlnet"}))
        return Catalogue(str(folder)).default()

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, card: ModelCard) -> Generator[ResidentEngine]:
        yield from loaded(EngineSpec(cards=(card,), device="cpu", cpu_threads=1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestOnCuda(EngineContract, EngineInputsContract, EnginePreviewsContract, EngineControlContract):
    """The same on a GPU in bfloat16."""

    implementation = ResidentEngine

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, card: ModelCard) -> Generator[ResidentEngine]:
        yield from loaded(EngineSpec(cards=(card,), device="cuda"))

    @pytest.mark.parametrize("compiled, offloaded", [(True, False), (False, True)])
    def test_options_keep_the_promises(self, card: ModelCard, compiled: bool, offloaded: bool) -> None:
        for engine in loaded(EngineSpec(cards=(card,), device="cuda", compile=compiled, cpu_offload=offloaded)):
            first = denoise(engine, request_for(card))
            denoise(engine, request_for(card, guidance_scale=2.0))
            assert denoise(engine, request_for(card)) == first

    def test_memory_comes_back(self, card: ModelCard) -> None:
        before = torch.cuda.memory_allocated()
        for engine in loaded(EngineSpec(cards=(card,), device="cuda")):
            denoise(engine, request_for(card))
            assert torch.cuda.memory_allocated() > before
        assert torch.cuda.memory_allocated() == before


def test_memory_comes_back_after_unload(card: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an engine, and a weak hold on each of its networks
    networks: list[weakref.ref[torch.nn.Module]] = []
    forward = cast(Callable[..., object], ZImageTransformer2DModel.forward)

    def watched(self: ZImageTransformer2DModel, *args: object, **kwargs: object) -> object:
        networks.append(weakref.ref(self))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(ZImageTransformer2DModel, "forward", watched)
    for engine in loaded(EngineSpec(cards=(card,), device="cpu")):
        denoise(engine, request_for(card))
        assert networks[0]() is not None
        # When it is unloaded
        engine.unload()
        # Then they are gone, and no request is taken
        gc.collect()
        assert networks[0]() is None
        with pytest.raises(EngineFailure):
            denoise(engine, request_for(card))


def test_a_damaged_input_is_an_error_and_nothing_of_it_is_told(engine: ResidentEngine, card: ModelCard) -> None:
    album = Album()
    request = starting(card, album, Mode.IMG2IMG)
    album.damage(request.input_images[0])
    with pytest.raises(EngineFailure, match="A stored input image is damaged"):
        denoise(engine, request, album=album)


def failing_decode(failures: int, error: Callable[[], Exception]) -> tuple[Callable[..., object], list[bool]]:
    """A `decode` that fails so many times, and a record of whether each call was to work in tiles."""
    tiled: list[bool] = []
    decode = cast(Callable[..., object], AutoencoderKL.decode)

    def broken(self: AutoencoderKL, *args: object, **kwargs: object) -> object:
        tiled.append(self.use_tiling)
        if len(tiled) <= failures:
            raise error()
        return decode(self, *args, **kwargs)

    return broken, tiled


@pytest.fixture(scope="module")
def of_many_cores(card: ModelCard) -> Generator[ResidentEngine]:
    """One that decodes with all of them, before the next batch."""
    yield from loaded(EngineSpec(cards=(card,), device="cpu", cpu_threads=2))


NO_MEMORY = pytest.mark.parametrize(
    "error",
    [
        lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        lambda: RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        MemoryError,
    ],
)


@NO_MEMORY
def test_out_of_memory_is_tried_again_with_less(
    of_many_cores: ResidentEngine, card: ModelCard, monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]
) -> None:
    # Given a device whose memory runs out once, while a picture larger than one tile is decoded
    request = request_for(card, width=160, height=160)
    broken, tiled = failing_decode(1, error)
    monkeypatch.setattr(AutoencoderKL, "decode", broken)
    # When the picture is made
    watcher = Watcher()
    raw = denoise(of_many_cores, request, watcher=watcher)
    # Then it comes, in tiles, which is said, and the steps of the second try are counted from 1
    assert tiled == [False, True]
    assert raw.adjustments == ("decoded in tiles for lack of memory",)
    assert [step for step, _ in watcher.steps] == [1, 2, 3, 4] * 2
    # And the next one is made in the ordinary way
    assert denoise(of_many_cores, request).adjustments == ()
    assert tiled == [False, True, False]


@NO_MEMORY
def test_what_is_decoded_later_is_tried_again_by_itself(
    engine: ResidentEngine, card: ModelCard, monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]
) -> None:
    # Given an engine that decodes beside the next batch, and memory that runs out then
    request = request_for(card, width=160, height=160)
    undisturbed = make(engine, request)
    broken, tiled = failing_decode(1, error)
    monkeypatch.setattr(AutoencoderKL, "decode", broken)
    watcher = Watcher()
    (raw,) = engine.denoise([request], read_image=Album().read, observers=[watcher])
    assert isinstance(raw, LatentPicture)
    assert (tiled, raw.adjustments) == ([], ())
    # When it is finished, after another one was begun that is decoded in the ordinary way
    (other,) = engine.denoise([request], read_image=Album().read, observers=[Watcher()])
    finished = engine.finish(raw, request, read_image=Album().read)
    # Then its steps are not made again, and it says how it was decoded; the other one is as ever
    assert tiled == [False, True]
    assert finished.adjustments == ("decoded in tiles for lack of memory",)
    assert [step for step, _ in watcher.steps] == [1, 2, 3, 4]
    assert other is not None
    assert not isinstance(other, DanqingError)
    assert engine.finish(other, request, read_image=Album().read) == undisturbed
    assert tiled == [False, True, False]


def test_of_a_model_that_is_gone_a_waiting_picture_keeps_its_autoencoder_only(card: ModelCard) -> None:
    # Given a picture that is not decoded yet
    for engine in loaded(EngineSpec(cards=(card,), device="cpu", cpu_threads=1)):
        request = request_for(card)
        expected = make(engine, request)
        (waiting,) = engine.denoise([request], read_image=Album().read, observers=[Watcher()])
        assert isinstance(waiting, LatentPicture)
        parts = cast(Any, engine)._models[card.id].adapter._model.parts
        transformer, vae = weakref.ref(parts.transformer), weakref.ref(parts.vae.decoder)
        del parts
        # When its model is unloaded
        engine.unload()
        gc.collect()
        # Then the rest is gone, and the picture is finished
        assert transformer() is None
        assert vae() is not None
        assert engine.finish(waiting, request, read_image=Album().read) == expected
        del waiting
        gc.collect()
        assert vae() is None


def test_memory_for_what_is_decoded_later_is_not_given_to_others(engine: ResidentEngine, card: ModelCard) -> None:
    # Given two pictures that wait, of which the second is the larger
    side_work = cast(Any, engine)._device.side_work
    album = Album()
    waiting = [
        engine.denoise([request_for(card, width=side, height=side)], read_image=album.read, observers=[Watcher()])[0]
        for side in (64, 160)
    ]
    needed = side_work.expected_bytes
    assert needed > 0
    # When the small one is decoded, the large one goes on to count; when that is dropped, nothing does
    computed(waiting[0])
    assert side_work.expected_bytes == needed
    waiting.clear()
    gc.collect()
    assert side_work.expected_bytes == 0


def test_with_one_core_pictures_are_decoded_at_once(card: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    for engine in loaded(EngineSpec(cards=(card,), device="cpu")):
        (made,) = engine.denoise([request_for(card)], read_image=Album().read, observers=[Watcher()])
        assert isinstance(made, RawPicture)


def test_a_picture_of_another_size_than_planned_is_refused_however_late(
    engine: ResidentEngine, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = cast(Callable[..., Any], AutoencoderKL.decode)
    monkeypatch.setattr(
        AutoencoderKL, "decode", lambda self, latents, return_dict: decode(self, latents[..., 1:], return_dict)
    )
    with pytest.raises(EngineFailure, match="another size"):
        make(engine, request_for(card))


def test_decoding_beside_the_next_batch_makes_the_same_picture(
    engine: ResidentEngine, of_many_cores: ResidentEngine, card: ModelCard
) -> None:
    request = request_for(card, num_inference_steps=2)
    waiting = [engine.denoise([request], read_image=Album().read, observers=[Watcher()])[0] for _ in range(3)]
    assert all(isinstance(raw, LatentPicture) for raw in waiting)
    # When three are decoded in other threads while the fourth is denoised
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(computed, raw) for raw in waiting]
        fourth = denoise(engine, request)
    # Then all are the one that is decoded at once
    (inline,) = of_many_cores.denoise([request], read_image=Album().read, observers=[Watcher()])
    assert isinstance(inline, RawPicture)
    assert all(future.result() == fourth for future in futures)
    assert np.abs(pixels(fourth).astype(int) - pixels(inline)).max() <= 1


def test_a_preview_without_memory_is_left_out(
    engine: ResidentEngine, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a device on which the first preview does not fit
    undisturbed = denoise(engine, request_for(card))
    broken, _ = failing_decode(1, lambda: torch.OutOfMemoryError("CUDA out of memory"))
    monkeypatch.setattr(AutoencoderKL, "decode", broken)
    # Then the others come, and so does the picture, at the first try
    watcher = Watcher(previews=EVERY_STEP)
    assert denoise(engine, request_for(card), watcher=watcher) == undisturbed
    assert list(watcher.shown) == [2, 3]
    assert len(watcher.steps) == 4


@pytest.mark.parametrize("which", ["engine", "of_many_cores"])
def test_out_of_memory_twice_is_an_error_of_its_own(
    request: pytest.FixtureRequest, which: str, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = request.getfixturevalue(which)  # whose model is loaded before that breaks
    broken, tiled = failing_decode(2, lambda: torch.OutOfMemoryError("CUDA out of memory"))
    monkeypatch.setattr(AutoencoderKL, "decode", broken)
    with pytest.raises(OutOfMemory) as caught:
        make(engine, request_for(card))
    assert "CUDA" not in caught.value.public_message
    assert len(tiled) == 2


@pytest.mark.parametrize("which", ["engine", "of_many_cores"])
def test_library_errors_are_translated_and_not_told(
    request: pytest.FixtureRequest, which: str, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = request.getfixturevalue(which)  # whose model is loaded before that breaks
    broken, tiled = failing_decode(1, lambda: RuntimeError("CUDA error: an illegal memory access was encountered"))
    monkeypatch.setattr(AutoencoderKL, "decode", broken)
    with pytest.raises(EngineFailure) as caught:
        make(engine, request_for(card))
    # The message is general; the cause is kept for the worker, which has to know that the device is lost
    assert "CUDA" not in caught.value.public_message
    assert "CUDA error" in str(caught.value.__cause__)
    assert len(tiled) == 1


def test_numbers_that_are_none_are_not_taken_for_a_picture(
    engine: ResidentEngine, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = AutoencoderKL.decode
    monkeypatch.setattr(
        AutoencoderKL, "decode", lambda self, latents, return_dict: decode(self, latents * float("nan"), return_dict)
    )
    with pytest.raises(EngineFailure, match="not a picture"):
        denoise(engine, request_for(card))


def test_a_raw_picture_of_another_size_is_refused(engine: ResidentEngine, card: ModelCard) -> None:
    with pytest.raises(EngineFailure, match="another size"):
        engine.finish(RawPicture(width=8, height=8, rgb=bytes(192)), request_for(card), read_image=Album().read)


def test_the_file_says_how_it_was_made(engine: ResidentEngine, card: ModelCard) -> None:
    # Given a request for a size that the model makes and cuts
    request = request_for(card, prompt="苹果", width=90, height=60)
    # When it is made
    content = original(engine, request)
    # Then the file holds A1111's line and our JSON
    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        parameters, own = picture.info["parameters"], json.loads(picture.info["danqing"])
    assert parameters.startswith("苹果\nSteps: 4, Sampler: Euler, CFG scale: 0.0, Seed: 7, Size: 90x60, Model: tiny, ")
    assert own["adjustments"] == ["made at 96x64 and cut to 90x60"]
    assert own["request"]["seed"] == 7


def test_the_file_says_what_had_no_effect(engine: ResidentEngine, card: ModelCard) -> None:
    request = request_for(card, negative_prompt="blurry", guidance_scale=0.0)
    content = original(engine, request)
    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        own = json.loads(picture.info["danqing"])
    assert own["adjustments"] == ["negative_prompt not used, because guidance_scale is 0"]


def test_a_device_that_is_not_there_is_refused(card: ModelCard) -> None:
    for name in ("cuda:99", "toaster", "mps"):
        with pytest.raises(ModelLoadFailure):
            build_engine(EngineSpec(cards=(card,), device=name))


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_is_the_one_asked_for(card: ModelCard, threads: int) -> None:
    before = torch.get_num_threads()
    for _ in loaded(EngineSpec(cards=(card,), device="cpu", cpu_threads=threads)):
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)


def test_options_without_effect_on_a_cpu_do_no_harm(card: ModelCard) -> None:
    # Given the options of a GPU on a CPU
    for engine in loaded(EngineSpec(cards=(card,), device="cpu", cpu_offload=True)):
        # Then pictures are made all the same
        assert denoise(engine, request_for(card)).width == 96
