"""Weights in fewer bits: made while a checkpoint loads, or found in it, and what is said where that cannot be."""

import dataclasses
import gc
import importlib
import importlib.util
import json
import os
import shutil
import sys
import weakref
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, cast

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from danqing.core.capabilities import ModelCard, Precision
from danqing.core.errors import EngineFailure, ModelLoadFailure
from danqing.core.types import Mode, RawPicture
from danqing.engine import quantisation
from danqing.engine.build import build_engine
from danqing.engine.catalogue import Catalogue
from danqing.engine.families.placement import weights_bytes
from danqing.engine.families.z_image import model
from danqing.engine.resident import ResidentEngine
from danqing.engine.spec import EngineSpec
from tests.contracts.engine import Album, Watcher, computed, denoise, original, pixels, request_for, starting

untyped = cast(Any, diffusers)

MADE: tuple[Precision, ...] = ("sdnq-uint4", "sdnq-int8", "torchao-int8")
# At least so near to the native picture, in dB, of random weights and of the sample model.
NEAR = {"sdnq-uint4": 26, "sdnq-int8": 42, "torchao-int8": 42}
# At most this share of the native transformer's bytes, which are float32 on a CPU; of one so narrow, much stays native.
SMALLER = {"sdnq-uint4": 0.5, "sdnq-int8": 0.55, "torchao-int8": 0.55}


@pytest.fixture(autouse=True)
def packages() -> None:
    """Both are extras, which a developer may lack."""
    for package in ("sdnq", "torchao"):
        if importlib.util.find_spec(package) is None:
            if os.environ.get("CI") == "true":
                pytest.fail(f"CI tests with {package}")
            pytest.skip(f"{package} is not installed")


@pytest.fixture(scope="module")
def wide_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint with networks that are wide enough: SDNQ leaves layers of few weights as they are."""
    folder = tmp_path_factory.mktemp("checkpoints") / "wide"
    shutil.copytree(tiny_folder, folder, ignore=shutil.ignore_patterns("controlnet", "danqing.json", "*.safetensors"))
    from transformers import Qwen3Config, Qwen3Model

    torch.manual_seed(22)
    config = json.loads((tiny_folder / "transformer" / "config.json").read_text())
    config |= {"dim": 128, "n_heads": 4, "n_kv_heads": 4, "cap_feat_dim": 128}
    transformer = untyped.ZImageTransformer2DModel.from_config(config)
    for name, parameter in transformer.named_parameters():
        if name.endswith("pad_token"):
            torch.nn.init.normal_(parameter, std=0.02)  # created uninitialised
    encoder = json.loads((tiny_folder / "text_encoder" / "config.json").read_text())
    encoder |= {"hidden_size": 128, "intermediate_size": 256, "head_dim": 64, "num_attention_heads": 2}
    untyped.ZImagePipeline.from_pretrained(
        tiny_folder, transformer=transformer, text_encoder=Qwen3Model(Qwen3Config(**encoder))
    ).save_pretrained(folder, safe_serialization=True)
    return folder


class Loading:
    """Loads engines, and keeps hold of what lies in them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pipelines: list[Any] = []
        load = model.load_pipeline

        def watched(*args: object) -> object:
            self.pipelines.append(load(*args))  # type: ignore[arg-type]
            return self.pipelines[-1]

        monkeypatch.setattr(model, "load_pipeline", watched)

    def load(self, card: ModelCard, *, device: str = "cpu") -> ResidentEngine:
        engine = build_engine(EngineSpec(cards=(card,), device=device, cpu_threads=1))
        assert isinstance(engine, ResidentEngine)
        engine.load()
        return engine


@pytest.fixture
def loading() -> Generator[Loading]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Loading(monkeypatch)


@pytest.fixture(scope="module")
def wide(wide_folder: Path) -> ModelCard:
    return Catalogue(str(wide_folder)).default()


def quantised(network: torch.nn.Module) -> set[str]:
    """Names of the layers whose weights are no floating-point numbers of the usual kind any more."""
    return {
        name
        for name, layer in network.named_modules()
        if type(layer).__name__ == "SDNQLinear" or type(getattr(layer, "weight", None)).__name__ == "Int8Tensor"
    }


def nearness(picture: RawPicture, other: RawPicture) -> float:
    """PSNR, in dB."""
    error = np.mean((pixels(picture).astype(float) - pixels(other)) ** 2)
    return float(10 * np.log10(255**2 / error))


@pytest.mark.parametrize("precision", MADE)
def test_a_checkpoint_is_quantised_while_it_loads(wide: ModelCard, loading: Loading, precision: Precision) -> None:
    # Given the native model's picture
    native = denoise(loading.load(wide), request_for(wide))
    native_bytes = weights_bytes(loading.pipelines[0].transformer)
    # When the same checkpoint is loaded in that precision
    card = dataclasses.replace(wide, precision=precision)
    engine = loading.load(card)
    loaded = loading.pipelines[1]
    # Then the weights of blocks are quantised, those of the text encoder too, and nothing else is
    layers = quantised(loaded.transformer)
    assert {"layers.1.attention.to_q", "layers.0.feed_forward.w2", "noise_refiner.0.attention.to_k"} <= layers
    assert all(name.startswith(("layers.", "noise_refiner.", "context_refiner.")) for name in layers)
    assert "layers.0.mlp.down_proj" in {name.removeprefix("model.") for name in quantised(loaded.text_encoder)}
    assert quantised(loaded.vae) == set()
    # And they take less memory
    assert weights_bytes(loaded.transformer) < SMALLER[precision] * native_bytes
    # And the picture is another one, but near
    picture = denoise(engine, request_for(card))
    assert picture.rgb != native.rgb
    assert nearness(picture, native) > NEAR[precision]
    # And the same request gives the same bytes, also when the model is loaded anew
    request = request_for(card, guidance_scale=3.0, negative_prompt="a cup")
    first = original(engine, request)
    assert original(engine, request) == first
    engine.unload()
    engine.load()
    assert original(engine, request) == first


@pytest.mark.parametrize("precision", MADE)
def test_pictures_made_together_are_those_made_alone(wide: ModelCard, loading: Loading, precision: Precision) -> None:
    card = dataclasses.replace(wide, precision=precision)
    engine, album = loading.load(card), Album()
    for mode in (Mode.TEXT2IMG, Mode.FILL):
        plain = request_for(card) if mode is Mode.TEXT2IMG else starting(card, album, mode)
        requests = [
            dataclasses.replace(plain, prompt=prompt, seed=seed)
            for seed, prompt in enumerate(("a", "a red apple on a blue background", "蓝色背景上的苹果"))
        ]
        together = engine.denoise(requests, read_image=album.read, observers=[Watcher(), Watcher(), Watcher()])
        for request, made in zip(requests, together, strict=True):
            alone = denoise(engine, request, album=album)
            assert np.abs(pixels(computed(made)).astype(int) - pixels(alone)).max() <= 2


@pytest.mark.parametrize("precision", MADE)
def test_memory_is_given_back(wide: ModelCard, loading: Loading, precision: Precision) -> None:
    card = dataclasses.replace(wide, precision=precision)
    engine = loading.load(card)
    denoise(engine, request_for(card))
    part = weakref.ref(loading.pipelines[0].transformer)
    loading.pipelines.clear()
    engine.unload()
    gc.collect()
    assert part() is None


def test_the_sample_models_pictures_stay_near(loading: Loading) -> None:
    card = Catalogue("sample").default()
    if not Path(card.source, "model_index.json").exists() and os.environ.get("CI") != "true":
        pytest.skip("the sample model has not been trained in this tree")
    request = request_for(card, width=128, height=128, num_inference_steps=3)
    native = denoise(loading.load(card), request)
    for precision in MADE:
        engine = loading.load(dataclasses.replace(card, precision=precision))
        assert nearness(denoise(engine, request), native) > NEAR[precision], precision
    native_bytes, *fewer = (
        sum(weights_bytes(part) for part in (loaded.transformer, loaded.text_encoder)) for loaded in loading.pipelines
    )
    assert max(fewer) < 0.42 * native_bytes


def test_a_controlnet_shares_the_quantised_layers(
    tiny_folder: Path, loading: Loading, tmp_path: Path, wide_folder: Path
) -> None:
    # Given a wide model with a ControlNet
    from tests.unit.engine.tiny_checkpoint import write_tiny_controlnet

    folder = tmp_path / "controlled"
    shutil.copytree(wide_folder, folder)
    write_tiny_controlnet(folder / "controlnet", dim=128, n_heads=4)
    (folder / "danqing.json").write_text(json.dumps({"controlnet": "controlnet"}))
    card = dataclasses.replace(Catalogue(str(folder)).default(), precision="sdnq-int8")
    engine, album = loading.load(card), Album()
    # When it is used, then it counts
    request = request_for(
        card, mode=Mode.CONTROLNET, control_image=album.add(Image.new("RGB", (96, 64), "white")), strength=1.0
    )
    controlled = denoise(engine, request, album=album)
    assert controlled.rgb != denoise(engine, request_for(card)).rgb


def stored_quantised(wide_folder: Path, folder: Path, parts: Sequence[str], **options: object) -> None:
    """The wide checkpoint as a maker of quantised ones publishes it."""
    sdnq = importlib.import_module("sdnq")
    shutil.copytree(wide_folder, folder)
    made = {part: sdnq.SDNQConfig(**options) for part in parts}
    pipeline = untyped.ZImagePipeline.from_pretrained(
        wide_folder, quantization_config=untyped.PipelineQuantizationConfig(quant_mapping=made)
    )
    for part in parts:
        shutil.rmtree(folder / part)
        sdnq.save_sdnq_model(getattr(pipeline, part), str(folder / part))
    with safe_open(folder / "transformer" / "diffusion_pytorch_model.safetensors", "pt") as file:
        assert "layers.0.attention.to_q.scale" in file.keys()  # noqa: SIM118  no mapping


@pytest.mark.parametrize(
    "precision, options",
    [
        ("native", {"weights_dtype": "uint4", "use_svd": True, "svd_rank": 8}),
        ("sdnq-uint4", {"weights_dtype": "uint4", "use_svd": True, "svd_rank": 8}),
        ("sdnq-int8", {"weights_dtype": "int8", "use_quantized_matmul": True}),
    ],
    ids=["not said by the card", "uint4 with SVD", "int8 with integer multiplication"],
)
def test_a_checkpoint_that_is_quantised_already_loads_as_it_is(
    wide: ModelCard,
    wide_folder: Path,
    loading: Loading,
    tmp_path: Path,
    precision: Precision,
    options: dict[str, object],
) -> None:
    # Given the native picture, and a checkpoint that was saved quantised
    native = denoise(loading.load(wide), request_for(wide))
    stored_quantised(wide_folder, tmp_path / "wide", ("transformer", "text_encoder"), **options)
    card = dataclasses.replace(Catalogue(str(tmp_path / "wide")).default(), precision=precision)
    # When it is loaded by the ordinary path
    engine = loading.load(card)
    # Then its weights are the quantised ones, multiplied as floats
    loaded = loading.pipelines[-1]
    for part in (loaded.transformer, loaded.text_encoder):
        assert quantised(part)
        used = [layer.sdnq_dequantizer for layer in part.modules() if hasattr(layer, "sdnq_dequantizer")]
        assert {dequantizer.weights_dtype for dequantizer in used} == {options["weights_dtype"]}
        assert not any(dequantizer.use_quantized_matmul for dequantizer in used)
    # And the picture is near the native one
    assert nearness(denoise(engine, request_for(card)), native) > NEAR["sdnq-uint4"]


def test_a_part_that_the_checkpoint_has_native_is_quantised_beside_the_others(
    wide_folder: Path, loading: Loading, tmp_path: Path
) -> None:
    stored_quantised(wide_folder, tmp_path / "half", ("transformer",), weights_dtype="int8")
    card = dataclasses.replace(Catalogue(str(tmp_path / "half")).default(), precision="sdnq-int8")
    loading.load(card)
    assert quantised(loading.pipelines[0].transformer)
    assert quantised(loading.pipelines[0].text_encoder)


@pytest.mark.parametrize("precision", ["torchao-int8", "sdnq-uint4"])
def test_one_precision_is_not_made_of_another(
    wide_folder: Path, loading: Loading, tmp_path: Path, precision: Precision
) -> None:
    stored_quantised(wide_folder, tmp_path / "stored", ("transformer", "text_encoder"), weights_dtype="int8")
    card = dataclasses.replace(Catalogue(str(tmp_path / "stored")).default(), precision=precision)
    with pytest.raises(ModelLoadFailure, match=rf"Model stored: .* quantised already \(sdnq-int8\); {precision}"):
        loading.load(card)


@pytest.mark.parametrize("precision", MADE)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    wide: ModelCard, loading: Loading, monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    package = precision.partition("-")[0]
    monkeypatch.setitem(sys.modules, package, None)  # Python's way to say: there is none
    engine = build_engine(EngineSpec(cards=(dataclasses.replace(wide, precision=precision),), device="cpu"))
    with pytest.raises(ModelLoadFailure) as caught:
        engine.load()
    assert f"Model wide: precision {precision} needs the package {package}" in caught.value.public_message
    assert f"-e '.[{package}]" in caught.value.public_message
    with pytest.raises(EngineFailure):
        denoise(engine, request_for(wide))


def test_fp8_on_a_cpu_is_refused(wide: ModelCard, loading: Loading) -> None:
    with pytest.raises(ModelLoadFailure, match=r"Model wide: precision torchao-fp8 needs an NVIDIA GPU .* 8\.9"):
        loading.load(dataclasses.replace(wide, precision="torchao-fp8"))


def test_fp8_knows_tokens_of_zeros(wide_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a CPU that is taken for a GPU with fp8, which PyTorch computes on either
    monkeypatch.setattr(quantisation, "_check_fp8", lambda *_: None)
    monkeypatch.setattr("torchao.quantization.quant_api._check_hardware_support", lambda *_: None)
    # And a checkpoint whose pad token is zeros
    folder = tmp_path / "wide"
    shutil.copytree(wide_folder, folder)
    file = next((folder / "transformer").glob("*.safetensors"))
    weights = load_file(file)
    save_file(weights | {name: weights[name] * 0 for name in ("x_pad_token", "cap_pad_token")}, file)
    card = Catalogue(str(folder)).default()
    engine, native = (
        build_engine(EngineSpec(cards=(each,), device="cpu", cpu_threads=1, dtype="bfloat16"))
        for each in (dataclasses.replace(card, precision="torchao-fp8"), card)
    )
    # When pictures of texts of different length, which are padded with zeros, are made together
    prompts = ("a", "a red apple on a table, " * 8)
    requests = [request_for(card, prompt=prompt, num_inference_steps=1) for prompt in prompts]
    made: list[list[RawPicture]] = []
    for each in (engine, native):
        each.load()
        together = each.denoise(requests, read_image=Album().read, observers=[Watcher(), Watcher()])
        made.append([computed(outcome) for outcome in together])
    # Then they are about the native ones
    assert all(nearness(ours, theirs) > 20 for ours, theirs in zip(*made, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", [*MADE, "torchao-fp8"])
def test_precisions_work_on_a_gpu(wide: ModelCard, loading: Loading, precision: Precision) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    if precision == "torchao-fp8" and torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("needs a GPU that multiplies fp8")
    native = denoise(loading.load(wide, device="cuda"), request_for(wide))
    card = dataclasses.replace(wide, precision=precision)
    assert nearness(denoise(loading.load(card, device="cuda"), request_for(card)), native) > 20
