"""What the page is told of models and of the machine."""

from pathlib import Path

from danqing.core.types import DeviceStatus
from tests.dialects.house import House
from tests.dialects.studio.asking import all_modes, ask


async def test_a_model_says_what_it_honours(tmp_path: Path) -> None:
    told = (await ask(House(tmp_path, card=all_modes()), "GET", "/studio/models")).json()

    (model,) = told["models"]
    assert model["modes"] == ["text2img", "img2img", "fill", "controlnet", "edit"]
    assert model["sizes"] == {"multiple_of": None, "max_pixels": None, "trained": [[128, 128], [160, 96]]}
    assert (model["min_steps"], model["max_steps"], model["max_input_images"]) == (1, 50, 3)
    assert (model["loras"], model["guidance"], model["negative_prompt"]) == (["ink"], True, True)
    assert model["defaults"]["num_inference_steps"] == 9
    assert told["caller"] == {"owner": "local", "sees_all": True, "manages_keys": False}


async def test_the_machine_tells_its_devices_queue_and_host(tmp_path: Path) -> None:
    device = DeviceStatus(
        id="cuda:0", name="A card", kind="cuda", memory_reserved_bytes=5, memory_total_bytes=9, models=("tiny",)
    )
    told = (await ask(House(tmp_path, device=device), "GET", "/studio/machine")).json()

    (worker,) = told["workers"]
    assert (worker["state"], worker["device_name"]) == ("ready", "A card")
    assert (worker["memory_used_bytes"], worker["memory_total_bytes"], worker["restarts"]) == (5, 9, 0)
    assert told["queue"]["pending"] == 0
    assert 0 < told["host"]["memory_used_bytes"] < told["host"]["memory_total_bytes"]
