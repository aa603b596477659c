"""From settings to devices and models."""

import pytest

from danqing.config import InvalidSettings, Settings
from danqing.devices import Gpu
from danqing.wiring import build_catalogue, device_choice, hardware


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
    ["gpt-image-1", "gpt-image-2-2026-04-21", "chatgpt-image-latest", "dall-e-2", "dall-e-3", "flux1-dev",
     "qwen-image-edit", "qwen-image-edit-2511", "z-image-turbo-uint4", "z-image-turbo-int8"],
)  # fmt: skip
def test_names_that_other_servers_models_have_mean_the_model_that_is_served(name: str) -> None:
    assert build_catalogue(settings()).card(name).id == "sample"
