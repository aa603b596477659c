"""Which way previews are made, what they show, and that the engine keeps its promises with small ones."""

import dataclasses
import shutil
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from danqing.core.capabilities import ModelCard
from danqing.core.errors import EngineFailure, ModelLoadFailure
from danqing.engine.build import build_engine
from danqing.engine.catalogue import Catalogue
from danqing.engine.device import choose_device
from danqing.engine.families.adapter import AdapterOptions
from danqing.engine.families.autoencoder_kl import decode, encode
from danqing.engine.families.preview_decoder import (
    CONFIG,
    FOLDER,
    WEIGHTS,
    PreviewDecoder,
    PreviewDecoderConfig,
    choose_preview,
    linear_map,
)
from danqing.engine.launched import Levels, levels
from danqing.engine.prompt_cache import PromptCache
from danqing.engine.resident import ResidentEngine
from danqing.engine.spec import EngineSpec
from tests.contracts.engine import EVERY_STEP, Watcher, chart, denoise, request_for
from tests.contracts.engine_inputs import EnginePreviewsContract

CHANNELS, FACTOR, SCALE = 4, 4, 2  # of the tiny checkpoint, and pixels for each of its latents
OPTIONS = AdapterOptions(
    device=choose_device("cpu", "auto"),
    compile=False,
    cpu_offload=False,
    attention=None,
    prompts=PromptCache(max_bytes=0),
)


def write_preview_decoder(folder: Path, *, channels: int = CHANNELS) -> PreviewDecoder:
    torch.manual_seed(3)
    config = PreviewDecoderConfig(latent_channels=channels, width=8, scale=SCALE)
    network = PreviewDecoder(config)
    (folder / FOLDER).mkdir()
    (folder / FOLDER / CONFIG).write_text(config.model_dump_json())
    save_file(network.state_dict(), folder / FOLDER / WEIGHTS)
    return network


@pytest.fixture(scope="module")
def card(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    folder = tmp_path_factory.mktemp("checkpoints") / "previewed"
    shutil.copytree(tiny_folder, folder)
    write_preview_decoder(folder)
    return Catalogue(str(folder)).default()


class LinearAutoencoder:
    """Eight channels, each some mixture of the colours, at an eighth of the size."""

    def __init__(self) -> None:
        self.mixing = torch.randn(8, 3, generator=torch.Generator().manual_seed(4))

    def encode(self, image: Tensor) -> Tensor:
        return torch.einsum("cr,nrhw->nchw", self.mixing, avg_pool2d(image, 8)) + 0.5

    def decode(self, latents: Tensor) -> Levels:
        colours = torch.einsum("rc,nchw->nrhw", torch.linalg.pinv(self.mixing), latents - 0.5)
        return levels(interpolate(colours, scale_factor=8))


def grey(level: float) -> Tensor:
    return torch.full((1, 3, 64, 48), level)


def test_a_linear_map_gives_a_pixel_for_each_latent_one() -> None:
    factors = torch.randn(16, 3, generator=torch.Generator().manual_seed(5))
    latents = torch.randn(1, 16, 5, 7, generator=torch.Generator().manual_seed(6))
    made = linear_map(factors, torch.tensor([0.1, 0.2, 0.3]))(latents)
    assert made.shape == (1, 3, 5, 7)
    expected = latents[0, :, 2, 4] @ factors + torch.tensor([0.1, 0.2, 0.3])
    torch.testing.assert_close(made[0, :, 2, 4], expected)


def test_an_autoencoder_is_learned_where_a_linear_map_will_do() -> None:
    # Given one whose colours are mixed in its channels
    autoencoder = LinearAutoencoder()
    card = Catalogue("z-image-turbo").default()
    # When previews are chosen for a model that brings nothing for them
    preview = choose_preview(card, OPTIONS, channels=8, encode=autoencoder.encode, decode=autoencoder.decode)
    # Then they are as bright as what they stand for, and as large
    shades = [preview(autoencoder.encode(grey(level))).read() for level in (-1.0, -0.4, 0.3, 1.0)]
    assert {shade.shape for shade in shades} == {(64, 48, 3)}
    brightness = [float(shade.mean()) for shade in shades]
    assert brightness == pytest.approx([0, 76.5, 165.75, 255], abs=2)
    # And of its colours
    image = torch.tensor(np.asarray(chart(64, 48))).permute(2, 0, 1)[None].float() / 127.5 - 1
    latents = autoencoder.encode(image)
    difference = preview(latents).read().astype(int) - autoencoder.decode(latents).read()
    assert np.abs(difference.reshape(8, 8, 6, 8, 3).mean((1, 3))).max() <= 8
    # But never larger than anybody sees them
    assert preview(torch.zeros(1, 8, 128, 96)).read().shape == (512, 384, 3)
    assert preview(torch.zeros(1, 8, 20, 600)).read().shape == (20, 600, 3)


def test_the_samples_own_network_shows_what_its_autoencoder_would() -> None:
    # Given the bundled model's autoencoder, and what it makes of a blue thing on yellow
    card = Catalogue("sample").default()
    vae = AutoencoderKL.from_pretrained(Path(card.source, "vae"), torch_dtype=torch.float32)
    image = torch.tensor([252.0, 212.0, 56.0]).reshape(1, 3, 1, 1).repeat(1, 1, 128, 128)
    image[:, :, 40:90, 30:80] = torch.tensor([38.0, 96.0, 224.0]).reshape(1, 3, 1, 1)
    with torch.inference_mode():
        latents = encode(vae, image / 127.5 - 1)
        whole = decode(vae, latents)
        # When its own network shows it
        preview = choose_preview(card, OPTIONS, channels=16, encode=lambda image: image, decode=lambda latents: whole)(
            latents
        ).read()
    # Then it is nearly the same at half the size
    assert preview.shape == (64, 64, 3)
    half = whole.read().reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.square((preview - half) / 255).mean() < 10 ** (-20 / 10)  # 20 dB


def test_numbers_that_are_none_are_no_preview() -> None:
    autoencoder = LinearAutoencoder()
    card = Catalogue("z-image-turbo").default()
    preview = choose_preview(card, OPTIONS, channels=8, encode=autoencoder.encode, decode=autoencoder.decode)
    with pytest.raises(EngineFailure):
        preview(torch.full((1, 8, 4, 4), float("nan"))).read()


def test_where_none_will_do_the_autoencoder_makes_the_previews(tiny_folder: Path) -> None:
    # Given one of random weights, and one that fails
    vae = AutoencoderKL.from_pretrained(tiny_folder / "vae")
    latents = torch.randn(1, CHANNELS, 6, 8, generator=torch.Generator().manual_seed(7))
    card = Catalogue(str(tiny_folder)).default()

    def failing(latents: Tensor) -> Levels:
        raise EngineFailure

    # Then what is shown is what they make
    preview = choose_preview(
        card, OPTIONS, channels=CHANNELS, encode=lambda image: encode(vae, image), decode=lambda x: decode(vae, x)
    )
    with torch.inference_mode():
        assert np.array_equal(preview(latents).read(), decode(vae, latents).read())
    preview = choose_preview(card, OPTIONS, channels=CHANNELS, encode=lambda image: encode(vae, image), decode=failing)
    with pytest.raises(EngineFailure):
        preview(latents)


def test_a_checkpoints_own_network_is_used(tmp_path: Path, tiny_folder: Path) -> None:
    # Given a folder that brings one, and an autoencoder that must not be asked
    network = write_preview_decoder(tmp_path)
    card = dataclasses.replace(Catalogue(str(tiny_folder)).default(), source=str(tmp_path))

    def unasked(of: Tensor) -> Levels:
        raise AssertionError

    preview = choose_preview(card, OPTIONS, channels=CHANNELS, encode=lambda image: image, decode=unasked)
    # Then what it makes is shown
    latents = torch.randn(1, CHANNELS, 6, 8, generator=torch.Generator().manual_seed(8))
    with torch.inference_mode():
        assert np.array_equal(preview(latents.bfloat16()).read(), levels(network(latents.bfloat16().float())).read())
    assert preview(latents).read().shape == (6 * SCALE, 8 * SCALE, 3)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / CONFIG).unlink(),
        lambda folder: (folder / CONFIG).write_text('{"latent_channels": 4, "width": 8, "scale": 2, "depth": 3}'),
        lambda folder: (folder / CONFIG).write_text('{"latent_channels": 4, "width": 9, "scale": 2}'),
        lambda folder: (folder / WEIGHTS).unlink(),
        lambda folder: (folder / WEIGHTS).write_bytes(b"cut"),
    ],
    ids=["no config", "strange config", "other config", "no weights", "damaged weights"],
)
def test_a_damaged_network_is_refused(tmp_path: Path, tiny_folder: Path, damage: object) -> None:
    write_preview_decoder(tmp_path)
    assert callable(damage)
    damage(tmp_path / FOLDER)
    card = dataclasses.replace(Catalogue(str(tiny_folder)).default(), source=str(tmp_path))
    with pytest.raises(ModelLoadFailure):
        choose_preview(card, OPTIONS, channels=CHANNELS, encode=lambda image: image, decode=lambda latents: latents)  # type: ignore[arg-type, return-value]


def test_a_network_for_other_latents_is_refused(tmp_path: Path, tiny_folder: Path) -> None:
    write_preview_decoder(tmp_path, channels=16)
    card = dataclasses.replace(Catalogue(str(tiny_folder)).default(), source=str(tmp_path))
    autoencoder = LinearAutoencoder()
    with pytest.raises(ModelLoadFailure, match="another model"):
        choose_preview(card, OPTIONS, channels=CHANNELS, encode=autoencoder.encode, decode=autoencoder.decode)


class TestSmallPreviews(EnginePreviewsContract):
    """An engine whose previews are smaller than what the model makes."""

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, card: ModelCard) -> Generator[ResidentEngine]:
        engine = build_engine(EngineSpec(cards=(card,), device="cpu", cpu_threads=1))
        assert isinstance(engine, ResidentEngine)
        engine.load()
        yield engine
        engine.unload()

    def test_the_whole_autoencoder_is_not_run_for_them(
        self, engine: ResidentEngine, card: ModelCard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole, runs = AutoencoderKL.decode, list[object]()

        def counted(self: AutoencoderKL, z: Tensor, return_dict: bool) -> object:
            runs.append(z)
            return whole(self, z, return_dict)  # type: ignore[arg-type]

        monkeypatch.setattr(AutoencoderKL, "decode", counted)
        watcher = Watcher(previews=EVERY_STEP)
        denoise(engine, request_for(card), watcher=watcher)
        assert list(watcher.shown) == [1, 2, 3]
        assert len(runs) == 1  # for the picture itself
        # And a client gets them as large as ever
        assert {(shown.width, shown.height) for shown in watcher.shown.values()} == {(96, 64)}
