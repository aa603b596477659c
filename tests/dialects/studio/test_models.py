"""What the page is told of models and of the machine."""

from pathlib import Path

import pytest

from danqing.core.types import DeviceStatus, PoolStatus, WorkerState, WorkerStatus
from danqing.dialects.studio.schemas import UpscalerView
from danqing.dialects.studio.translate_out import upscaler_of
from tests.dialects.house import House
from tests.dialects.studio.asking import ADMIN, ANNE, KEYS, all_modes, ask


async def test_a_model_says_what_it_honours(tmp_path: Path) -> None:
    told = (await ask(House(tmp_path, card=all_modes()), "GET", "/studio/models")).json()

    (model,) = told["models"]
    assert model["modes"] == ["text2img", "img2img", "fill", "controlnet", "edit"]
    assert model["sizes"] == {"multiple_of": None, "max_pixels": None, "trained": [[128, 128], [160, 96]]}
    assert (model["min_steps"], model["max_steps"], model["max_input_images"]) == (1, 50, 3)
    assert (model["loras"], model["guidance"], model["negative_prompt"]) == (["ink"], True, True)
    assert model["defaults"]["num_inference_steps"] == 9
    assert told["upscaler"] == {"factor": 4, "max_side": 2048}
    assert told["caller"] == {"owner": "local", "sees_all": True, "manages_keys": False}


@pytest.mark.parametrize(
    ("workers", "told"),
    [
        ([("tiny",)], None),
        ([("tiny",), ("tiny", "upscaler")], UpscalerView(factor=4, max_side=2048)),
        ([], UpscalerView(factor=4, max_side=2048)),  # they are elsewhere, and will tell
    ],
)
def test_pictures_are_enlarged_where_a_worker_can(workers: list[tuple[str, ...]], told: UpscalerView | None) -> None:
    statuses = [
        WorkerStatus(id=str(place), state=WorkerState.READY, pid=None, restarts=0, models=models)
        for place, models in enumerate(workers)
    ]
    assert upscaler_of(PoolStatus(workers=tuple(statuses))) == told


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


async def test_the_machine_remembers_and_tells_what_is_newer_than_what_is_known(tmp_path: Path) -> None:
    device = DeviceStatus(id="cuda:0", name="A card", kind="cuda", memory_reserved_bytes=5, memory_total_bytes=9)
    house = House(tmp_path, device=device)
    for _ in range(3):
        await house.services.machine_log.look()
    whole = (await ask(house, "GET", "/studio/machine")).json()
    first, second, third = whole["samples"]
    later = await ask(house, "GET", "/studio/machine", params={"since": second["at"]})

    assert later.json()["samples"] == [third]
    assert first["worker_memory_bytes"] == {whole["workers"][0]["id"]: 5}
    assert (whole["host"]["since"], whole["host"]["name"]) == (first["at"], "a-host")


async def test_only_who_sees_all_is_told_what_the_host_is_called(tmp_path: Path) -> None:
    house = House(tmp_path, keys=KEYS)
    hosts = [(await ask(house, "GET", "/studio/machine", key=key)).json()["host"] for key in (ADMIN, ANNE)]

    assert [host["name"] for host in hosts] == ["a-host", None]
    assert hosts[0]["id"] == hosts[1]["id"]
