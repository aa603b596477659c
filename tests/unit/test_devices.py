"""Which devices get a worker."""

import pytest

from danqing.devices import NoSuchGpu, choose_devices, device_groups, installed_gpus, visible_gpu_count


@pytest.mark.parametrize(
    ("visible_devices", "count"),
    [
        (None, 4),
        ("", 0),
        ("0", 1),
        ("2,0", 2),
        (" 1 , 3 ", 2),
        ("0,7,1", 1),  # CUDA stops at the first number that is no GPU
        ("-1", 0),
        ("0,-1,1", 1),
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6,MIG-1", 2),
    ],
)
def test_visible_gpus_are_counted_as_cuda_does(visible_devices: str | None, count: int) -> None:
    assert visible_gpu_count(4, visible_devices) == count


def test_a_machine_without_gpus_has_none_visible() -> None:
    assert visible_gpu_count(0, "GPU-8932f937") == 0


def test_every_visible_gpu_gets_a_worker() -> None:
    choice = choose_devices(use_gpus=True, only_gpu=None, visible=2, torch_can=True)
    assert (choice.devices, choice.remark) == (("cuda:0", "cuda:1"), None)


def test_one_gpu_can_be_chosen_but_only_one_that_is_there() -> None:
    assert choose_devices(use_gpus=True, only_gpu=1, visible=2, torch_can=True).devices == ("cuda:1",)
    with pytest.raises(NoSuchGpu, match="the GPUs here are 0 to 1"):
        choose_devices(use_gpus=True, only_gpu=2, visible=2, torch_can=True)


def test_switched_off_gpus_are_not_used_and_nothing_is_said() -> None:
    choice = choose_devices(use_gpus=False, only_gpu=0, visible=2, torch_can=True)
    assert (choice.devices, choice.remark) == (("cpu",), None)


@pytest.mark.parametrize(("visible", "torch_can"), [(0, True), (2, False)])
def test_a_gpu_that_cannot_be_used_is_told(visible: int, torch_can: bool) -> None:
    choice = choose_devices(use_gpus=True, only_gpu=0, visible=visible, torch_can=torch_can)
    assert choice.devices == ("cpu",)
    assert choice.remark


@pytest.mark.gpu
def test_the_driver_tells_of_the_gpus() -> None:
    gpus = installed_gpus()
    if not gpus:
        pytest.skip("no GPU here")
    assert all(gpu.name and (gpu.memory_total_bytes or 0) > 0 for gpu in gpus)


@pytest.mark.parametrize(
    ("needed", "groups"),
    [
        (79, ("0", "1", "2", "3", "4")),
        (81, ("0+1", "2+3+4")),
        (161, ("0+1+2+3+4",)),
        (9999, ("0+1+2+3+4",)),
    ],
)
def test_groups_are_as_small_as_the_model_allows_and_leave_no_device_out(needed: int, groups: tuple[str, ...]) -> None:
    assert device_groups(("0", "1", "2", "3", "4"), memory_bytes=100, needed_bytes=needed) == groups
