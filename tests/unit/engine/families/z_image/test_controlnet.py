"""Z-Image's ControlNet against diffusers' own pipeline, and how its weights come and go."""

import dataclasses
import gc
import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.models.controlnets.controlnet_z_image import ZImageControlNetModel
from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel
from diffusers.pipelines.z_image.pipeline_z_image_controlnet import ZImageControlNetPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from danqing.core.capabilities import Companion, ModelCard
from danqing.core.errors import ModelLoadFailure
from danqing.core.types import Mode
from danqing.engine.attention import NATIVE
from danqing.engine.catalogue import Catalogue
from danqing.engine.device import choose_device
from danqing.engine.families import transformer_attention
from danqing.engine.families.adapter import AdapterOptions, Order, Unwatched
from danqing.engine.families.pipelined import PipelinedAdapter
from danqing.engine.families.z_image import controlnets
from danqing.engine.families.z_image.controlnets import union_config
from danqing.engine.families.z_image.model import z_image_adapter
from danqing.engine.input_pictures import InputPicture, Pixels
from danqing.engine.prompt_cache import PromptCache
from tests.contracts.engine import request_for
from tests.contracts.engine_control import drawing, photo
from tests.unit.engine.tiny_checkpoint import write_tiny_controlnet

SIZE = (96, 64)
MAP = np.asarray(drawing(*SIZE))
START = InputPicture(rgb=np.asarray(photo(*SIZE)))


def load(card: ModelCard, *, device: str = "cpu", **changes: object) -> PipelinedAdapter:
    options = AdapterOptions(
        device=choose_device(device, "float32"),
        compile=False,
        cpu_offload=False,
        attention=None,
        prompts=PromptCache(max_bytes=1 << 20),
    )
    adapter = z_image_adapter(card, dataclasses.replace(options, **changes))  # type: ignore[arg-type]
    adapter.load()
    return adapter


def made(
    adapter: PipelinedAdapter,
    card: ModelCard,
    *,
    control: Pixels | None = MAP,
    start: InputPicture | None = None,
    **changes: object,
) -> Pixels:
    request = request_for(card, mode=Mode.CONTROLNET if control is not None else Mode.TEXT2IMG, **changes)
    order = Order(request=request, start=start, control=control)
    (picture,) = adapter.make([order], SIZE, watchers=[Unwatched()], spare_memory=False)
    assert picture is not None
    return picture.decoded().rgb


@pytest.fixture(scope="module")
def card(tiny_folder: Path) -> ModelCard:
    return Catalogue(str(tiny_folder)).default()


def with_companion(card: ModelCard, **changes: object) -> ModelCard:
    companion = dataclasses.replace(cast(Companion, card.companion(Mode.CONTROLNET)), **changes)  # type: ignore[arg-type]
    return dataclasses.replace(card, companions=(companion,))


@pytest.mark.parametrize("guidance_scale", [0.0, 3.5])
@pytest.mark.parametrize("scale", [None, 1.5])
def test_pictures_equal_the_pipelines_own(
    tiny_folder: Path, card: ModelCard, guidance_scale: float, scale: float | None
) -> None:
    # Given diffusers' picture of a request with a map
    request = request_for(card, guidance_scale=guidance_scale, negative_prompt="a blue cup, ugly, " * 8)
    controlnet: Any = ZImageControlNetModel.from_pretrained(tiny_folder / "controlnet")
    pipeline: Any = ZImageControlNetPipeline.from_pretrained(tiny_folder, controlnet=controlnet)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        control_image=Image.fromarray(MAP),
        width=SIZE[0],
        height=SIZE[1],
        num_inference_steps=request.num_inference_steps,
        guidance_scale=guidance_scale,
        generator=torch.Generator("cpu").manual_seed(request.seed),
        return_dict=False,
        **({} if scale is None else {"controlnet_conditioning_scale": scale}),
    )[0][0]
    # When we make it
    ours = made(
        load(card),
        card,
        guidance_scale=guidance_scale,
        negative_prompt=request.negative_prompt,
        controlnet_conditioning_scale=scale,
        strength=1.0,
    )
    # Then it is the same, but for rounding
    assert ours.std() > 5
    assert np.abs(ours.astype(int) - np.asarray(expected).astype(int)).max() <= 1


@pytest.mark.parametrize("strength", [0.9, 0.5])
def test_where_the_map_says_nothing_it_begins_as_img2img_does(card: ModelCard, strength: float) -> None:
    adapter = load(card)
    both = [
        made(adapter, card, control=control, start=START, strength=strength, controlnet_conditioning_scale=0.0)
        for control in (MAP, None)
    ]
    assert np.abs(both[0].astype(int) - both[1]).max() <= 1
    assert not np.array_equal(made(adapter, card, start=START, strength=strength), both[0])


def test_a_start_of_full_strength_is_none(card: ModelCard) -> None:
    adapter = load(card)
    assert np.array_equal(made(adapter, card, start=START, strength=1.0), made(adapter, card, strength=1.0))


def test_the_companion_says_how_strongly_its_map_is_followed(card: ModelCard) -> None:
    # Given a companion with a scale of its own
    stronger = with_companion(card, conditioning_scale=1.7)
    adapter, plain = load(stronger), load(card)
    # Then it holds where the request says none
    expected = made(plain, card, controlnet_conditioning_scale=1.7)
    assert np.array_equal(made(adapter, stronger), expected)
    said = made(adapter, stronger, controlnet_conditioning_scale=0.5)
    assert np.array_equal(said, made(plain, card, controlnet_conditioning_scale=0.5))
    assert not np.array_equal(said, expected)


def test_the_network_comes_with_the_first_request_stays_and_goes_with_the_model(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a look at every network that is loaded
    networks: list[weakref.ref[torch.nn.Module]] = []
    load_component = controlnets.load_component

    def watched(*args: object, **kwargs: object) -> object:
        network = load_component(*args, **kwargs)  # type: ignore[arg-type]
        networks.append(weakref.ref(network))
        return network

    monkeypatch.setattr(controlnets, "load_component", watched)
    adapter = load(card)
    # When no request needs it, then there is none; and one is enough for those that do, also between others
    made(adapter, card, control=None)
    assert networks == []
    first = made(adapter, card)
    made(adapter, card, control=None)
    assert np.array_equal(made(adapter, card), first)
    assert len(networks) == 1
    # And it goes with the model
    adapter.unload()
    gc.collect()
    assert networks[0]() is None


def test_flash_attention_which_takes_no_mask_is_left_out(card: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformer_attention, "TAKE_MASKS", (NATIVE,))
    adapter = load(card, attention=SimpleNamespace(kernel_for=lambda shape: "_native_math"))
    chosen: list[str] = []
    monkeypatch.setattr(ZImageTransformer2DModel, "set_attention_backend", lambda self, name: chosen.append(name))
    made(adapter, card, control=None)
    assert chosen == []
    made(adapter, card)
    assert chosen == ["native", "_native_math"]
    # And the ControlNet's own layers, which are always given one, never have another
    network = cast(Any, adapter)._model.parts.controlnet
    assert network.control_layers[0].attention.processor._attention_backend == "native"


def remove_all(folder: Path) -> None:
    shutil.rmtree(folder)


def cut_weights(folder: Path) -> None:
    file = folder / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-2000])


def other_shapes(folder: Path) -> None:
    file = folder / "diffusion_pytorch_model.safetensors"
    save_file({name: torch.zeros(3, 3) for name in load_file(file)}, file)


def of_another_model(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    shutil.rmtree(folder)
    other: Any = ZImageControlNetModel.from_config(config | {"dim": 32})
    other.save_pretrained(folder)


@pytest.mark.parametrize("spoil", [remove_all, cut_weights, other_shapes, of_another_model])
def test_a_spoilt_network_is_an_error_of_its_requests_only(
    tiny_folder: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    # Given a checkpoint whose ControlNet was spoilt after the server had looked at it
    shutil.copytree(tiny_folder, tmp_path / "spoilt")
    card = Catalogue(str(tmp_path / "spoilt")).default()
    spoil(tmp_path / "spoilt" / "controlnet")
    adapter = load(card)
    # When it is needed, then the error names the model, but neither paths nor what the library said
    for _ in range(2):
        with pytest.raises(ModelLoadFailure, match=r"Model spoilt: its (controlnet|ControlNet) ") as caught:
            made(adapter, card)
        assert str(tmp_path) not in caught.value.public_message
    # And pictures without a map are made as ever
    assert made(adapter, card, control=None).std() > 5


@pytest.mark.parametrize(
    "said", [{"controlnet": "elsewhere"}, {"controlnet": "vae", "controlnet_conditioning_scale": 3}], ids=str
)
def test_a_description_that_names_no_network_is_refused(
    tiny_folder: Path, tmp_path: Path, said: dict[str, object]
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "tiny")
    (tmp_path / "tiny" / "danqing.json").write_text(json.dumps(said))
    with pytest.raises(ModelLoadFailure, match=r"danqing\.json"):
        Catalogue(str(tmp_path / "tiny"))


def test_without_a_companion_there_is_no_such_mode(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "tiny")
    (tmp_path / "tiny" / "danqing.json").unlink()
    card = Catalogue(str(tmp_path / "tiny")).default()
    assert card.companions == ()
    assert Mode.CONTROLNET not in card.capabilities.modes


# Versions of the published file: control layers, channels of the map's latents, what refines it.
VERSIONS = {
    "1.0": (6, 4, None),
    "2.0": (15, 9, "control_layers"),
    "2.1": (15, 9, "control_noise_refiner"),
}


def write_union_file(file: Path, version: str) -> None:
    """A tiny one of the published kind: one file, and nothing beside it that describes it."""
    layers, channels, refiner = VERSIONS[version]
    config = {
        "control_layers_places": list(range(0, 30, 30 // layers)),
        "control_refiner_layers_places": None if refiner is None else [0, 1],
        "control_in_dim": channels,
        # A file of 2.0 has refiners as well, which were never trained.
        "add_control_noise_refiner": refiner and "control_noise_refiner",
        "n_refiner_layers": 2,
        "dim": 64,
        "n_heads": 2,
        "n_kv_heads": 2,
    }
    torch.manual_seed(5)
    network: Any = ZImageControlNetModel.from_config(config)
    for name, parameter in network.named_parameters():
        if name.split(".")[-2] in ("before_proj", "after_proj") and (
            version != "2.0" or not name.startswith("control_noise_refiner")
        ):
            torch.nn.init.normal_(parameter, std=0.2)
    save_file(network.state_dict(), file)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_single_file_is_loaded_without_the_hub(
    card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    # Given a published file in a local folder, and a network that must not be used
    def connect(*args: object, **kwargs: object) -> None:
        raise AssertionError("tried to reach the network")

    monkeypatch.setattr("socket.socket.connect", connect)
    monkeypatch.setattr("socket.getaddrinfo", connect)
    write_union_file(tmp_path / "union.safetensors", version)
    local = with_companion(card, source=str(tmp_path), file="union.safetensors")
    loaded: list[Any] = []
    load_component = controlnets.load_component
    monkeypatch.setattr(
        controlnets, "load_component", lambda *a, **k: loaded.append(load_component(*a, **k)) or loaded[0]
    )
    # When a picture needs it
    adapter = load(local)
    picture = made(adapter, local)
    # Then it shapes the picture, built as that version is, with the file's weights
    assert not np.array_equal(picture, made(adapter, local, controlnet_conditioning_scale=0.0))
    (network,) = loaded
    layers, channels, refiner = VERSIONS[version]
    assert network.config.control_in_dim == channels
    assert network.config.control_layers_places == list(range(0, 30, 30 // layers))
    assert network.config.add_control_noise_refiner == refiner
    assert network.config.n_heads == 2
    weights = load_file(tmp_path / "union.safetensors")
    name = "control_layers.5.after_proj.weight"
    assert torch.equal(network.state_dict()[name], weights[name])


def test_a_file_of_another_shape_is_refused(card: ModelCard, tmp_path: Path) -> None:
    write_tiny_controlnet(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    with pytest.raises(ValueError, match="2 control layers"):
        union_config(file)
    for name in (file.name, "config.json"):  # the other is no safetensors
        local = with_companion(card, source=str(tmp_path), file=name)
        with pytest.raises(ModelLoadFailure, match="its controlnet folder"):
            made(load(local), local)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("offloaded", [False, True])
def test_on_a_gpu_it_may_be_offloaded_and_leaves_with_the_rest(card: ModelCard, offloaded: bool) -> None:
    before = torch.cuda.memory_allocated()
    adapter = load(card, device="cuda", cpu_offload=offloaded)
    first = made(adapter, card)
    made(adapter, card, control=None)
    assert np.array_equal(made(adapter, card), first)
    if offloaded:
        assert torch.cuda.memory_allocated() - before < 1 << 20  # prompts and the like
    adapter.unload()
    assert torch.cuda.memory_allocated() == before
