"""From settings to devices and models."""

from pathlib import Path

import pytest

from danqing.config import InvalidSettings, Settings
from danqing.devices import Gpu
from danqing.engine.host_memory import host_memory
from danqing.engine.spec import EngineSpec
from danqing.wiring import build_catalogue, device_choice, hardware, log_style, most_memory
from danqing.wiring.hardware import worker_devices, worker_specs


def settings(**fields: object) -> Settings:
    return Settings.model_validate({"cuda_available": False} | fields)


@pytest.fixture
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which CUDA shows two."""
    monkeypatch.setattr(hardware, "installed_gpus", lambda: (Gpu(name="H100", memory_total_bytes=None),) * 3)
    monkeypatch.setattr(hardware, "torch_has_cuda", lambda: True)
    monkeypatch.setattr(hardware, "cuda_visible_devices", lambda: "0,2")


@pytest.mark.usefixtures("three_gpus")
def test_every_gpu_that_cuda_shows_gets_a_worker() -> None:
    assert device_choice(settings(cuda_available=True)).devices == ("cuda:0", "cuda:1")
    assert device_choice(settings()).devices == ("cpu",)
    with pytest.raises(InvalidSettings, match="GPU_DEVICE_ID is 2, but the GPUs here are 0 to 1"):
        device_choice(settings(cuda_available=True, gpu_device_id=2))


@pytest.mark.usefixtures("three_gpus")
def test_the_device_map_says_one_gpu_or_all() -> None:
    assert device_choice(settings(cuda_available=True, device_map="cuda")).devices == ("cuda:0",)
    assert device_choice(settings(cuda_available=True, device_map="cuda", gpu_device_id=1)).devices == ("cuda:1",)
    assert device_choice(settings(cuda_available=True, device_map="balanced")).devices == ("cuda:0", "cuda:1")
    assert device_choice(settings(device_map="cuda")).devices == ("cpu",)


def test_a_machine_without_gpus_takes_any_device_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "installed_gpus", lambda: ())
    assert device_choice(settings(cuda_available=True, device_map="cuda")).devices == ("cpu",)


@pytest.mark.parametrize(
    "name",
    ["gpt-image-1", "gpt-image-2-2026-04-21", "chatgpt-image-latest", "dall-e-2", "dall-e-3", "flux1-dev", "FLUX.1-dev",
     "qwen-image-edit", "qwen-image-edit-2511", "z-image-turbo-uint4", "z-image-turbo-int8"],
)  # fmt: skip
def test_names_that_other_servers_models_have_mean_the_model_that_is_served(name: str) -> None:
    assert build_catalogue(settings()).card(name).id == "sample"
    # But a model that is served goes before a name that stands for another
    several = build_catalogue(settings(model="sample-int8", models=["z-image-turbo-uint4"]))
    assert several.card(name).id == (name if name == "z-image-turbo-uint4" else "sample-int8")


def test_every_worker_loads_every_model(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text("[models.mine]\nsource = 'Tongyi-MAI/Z-Image-Turbo'\nprecision = 'native'\n")
    chosen = settings(models="mine,sample-uint4", models_file=tmp_path / "models.toml", precision="torchao-int8")

    specs = worker_specs(
        chosen, build_catalogue(chosen), ("cuda:0", "cuda:1"), log_style=log_style(chosen), engine=None
    )

    assert [spec.models for spec in specs] == [("sample", "mine", "sample-uint4", "sample-edit", "upscaler")] * 2
    for spec in specs:
        precisions = [card.precision for card in spec.engine.argument.cards]  # type: ignore[attr-defined]
        assert precisions == ["torchao-int8", "native", "sdnq-uint4", "torchao-int8"]


@pytest.mark.usefixtures("three_gpus")
def test_the_memory_that_a_model_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = tuple(Gpu(name="x", memory_total_bytes=size) for size in (16, None, 24))
    monkeypatch.setattr(hardware, "installed_gpus", lambda: gpus)
    assert most_memory(settings(), ("cuda:0", "cuda:1")) == 24
    assert most_memory(settings(cpu_offload=True), ("cuda:0",)) is None
    monkeypatch.setattr(hardware, "installed_gpus", lambda: gpus[1:2])
    assert most_memory(settings(), ("cuda:0",)) is None
    assert most_memory(settings(), ("cpu",)) == host_memory().total_bytes


@pytest.mark.usefixtures("three_gpus")
def test_with_balanced_a_model_that_is_too_large_for_a_gpu_gets_several(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Given GPUs that hold 20 GB of weights each, and a model of 20.5 GB that is not downloaded yet
    monkeypatch.setattr(hardware, "installed_gpus", lambda: (Gpu(name="x", memory_total_bytes=25 * 10**9),) * 3)
    gpus = ("cuda:0", "cuda:1")

    def devices(model: str, **fields: object) -> tuple[str, ...]:
        chosen = settings(cuda_available=True, models_file=tmp_path / "models.toml", **fields)
        return worker_devices(chosen, build_catalogue(settings(model=model)).cards(), gpus)

    assert devices("z-image-turbo", device_map="balanced") == ("cuda:0+cuda:1",)
    # Then one that fits, or other settings, leave a worker on each
    assert devices("z-image-turbo-uint4", device_map="balanced") == gpus
    assert devices("sample", device_map="balanced") == gpus
    assert devices("z-image-turbo") == gpus
    assert devices("z-image-turbo", device_map="balanced", cpu_offload=True) == gpus
    # And a limit is one of every GPU
    assert devices("z-image-turbo-uint4", device_map="balanced", device_memory_gb=8) == ("cuda:0+cuda:1",)
    spread = settings(device_map="balanced", device_memory_gb=8)
    assert most_memory(spread, ("cuda:0+cuda:1",)) == most_memory(spread, gpus) == 16 * 10**9
    assert most_memory(settings(device_memory_gb=8), gpus) == 8 * 10**9


def test_the_engine_learns_how_much_memory_it_may_use(tmp_path: Path) -> None:
    chosen = settings(device_memory_gb=1.5, data_dir=tmp_path)
    (spec,) = worker_specs(chosen, build_catalogue(chosen), ("cpu",), log_style=log_style(chosen), engine=None)
    engine = spec.engine.argument
    assert isinstance(engine, EngineSpec)
    assert engine.memory_bytes == 1_500_000_000
    assert engine.peaks_file == tmp_path / "memory-peaks.json"


@pytest.mark.parametrize("texts", [True, False])
def test_the_engine_learns_whether_pictures_tell_how_they_were_made(texts: bool) -> None:
    chosen = settings(picture_texts=texts)
    (spec,) = worker_specs(chosen, build_catalogue(chosen), ("cpu",), log_style=log_style(chosen), engine=None)
    engine = spec.engine.argument
    assert isinstance(engine, EngineSpec)
    assert engine.picture_texts is texts


def test_several_workers_on_a_device_share_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given GPUs of 80 GB, of which 60 may be used, and a setting that puts three workers on each
    monkeypatch.setattr(hardware, "installed_gpus", lambda: (Gpu(name="H100", memory_total_bytes=80 * 10**9),) * 2)
    chosen = settings(workers_per_device=3, device_memory_gb=60, data_dir=tmp_path)
    catalogue, devices = build_catalogue(chosen), ("cuda:0", "cuda:1")
    specs = worker_specs(chosen, catalogue, devices, log_style=log_style(chosen), engine=None, node_id="box")
    # Then each has a name of its own, and a third of it
    assert [spec.id for spec in specs] == [
        f"box/{name}" for name in ("cuda-0", "cuda-0-2", "cuda-0-3", "cuda-1", "cuda-1-2", "cuda-1-3")
    ]
    engines = [spec.engine.argument for spec in specs if isinstance(spec.engine.argument, EngineSpec)]
    assert [engine.memory_bytes for engine in engines] == [20 * 10**9] * 6
    # And without a limit a third of all
    chosen = settings(workers_per_device=4, data_dir=tmp_path)
    (spec, *_) = worker_specs(chosen, catalogue, devices, log_style=log_style(chosen), engine=None)
    assert isinstance(spec.engine.argument, EngineSpec)
    assert spec.engine.argument.memory_bytes == 20 * 10**9


def test_loras_are_offered_and_found_by_the_workers(tmp_path: Path) -> None:
    (tmp_path / "ink.safetensors").touch()
    chosen = settings(lora_dir=tmp_path)
    catalogue = build_catalogue(chosen)
    assert catalogue.default().loras == ("ink",)
    (spec,) = worker_specs(chosen, catalogue, ("cpu",), log_style=log_style(chosen), engine=None)
    assert isinstance(spec.engine.argument, EngineSpec)
    assert spec.engine.argument.lora_folder == tmp_path
    with pytest.raises(InvalidSettings, match=r"DANQING_LORA_DIR: .*gone is no folder"):
        build_catalogue(settings(lora_dir=tmp_path / "gone"))
