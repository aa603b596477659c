"""Which device, number format and attention kernel are taken."""

import importlib.machinery
import importlib.util
import os
from dataclasses import replace

import pytest
import torch

from danqing.core.errors import ModelLoadFailure
from danqing.core.types import DeviceStatus
from danqing.engine.device import Device, choose_attention, choose_device, default_cpu_threads, is_out_of_memory
from danqing.engine.spec import Attention, Dtype

CUDA = Device(torch_device=torch.device("cuda", 0), dtype=torch.bfloat16, name="a GPU")


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")


@pytest.mark.usefixtures("no_cuda")
@pytest.mark.parametrize(
    "dtype, expected",
    [
        ("auto", torch.float32),
        ("float32", torch.float32),
        ("float16", torch.float16),
        ("bfloat16", torch.bfloat16),
    ],
)
@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_without_a_gpu_it_is_the_cpu(name: str, dtype: Dtype, expected: torch.dtype) -> None:
    device = choose_device(name, dtype)
    assert (device.torch_device.type, device.dtype) == ("cpu", expected)
    assert (device.status().id, device.status().kind) == ("cpu", "cpu")


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("name, index", [("auto", 0), ("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_with_gpus_it_is_the_one_named(name: str, index: int) -> None:
    device = choose_device(name, "auto")
    assert device.torch_device == torch.device("cuda", index)
    assert (device.dtype, device.name) == (torch.bfloat16, f"GPU {index}")


@pytest.mark.usefixtures("two_gpus")
def test_a_gpus_status_has_torchs_name_and_the_makers(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = {"memory_allocated": 1, "memory_reserved": 2, "mem_get_info": (5, 3)}
    for question, answer in memory.items():
        monkeypatch.setattr(torch.cuda, question, lambda device, answer=answer: answer)

    assert choose_device("cuda:1", "auto").status() == DeviceStatus(
        id="cuda:1",
        name="GPU 1",
        kind="cuda",
        memory_allocated_bytes=1,
        memory_reserved_bytes=2,
        memory_total_bytes=3,
    )


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("name", ["cuda:2", "mps", "meta", "gpu", ""])
def test_what_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ModelLoadFailure):
        choose_device(name, "auto")


@pytest.mark.usefixtures("no_cuda")
def test_a_gpu_is_refused_where_there_is_none() -> None:
    with pytest.raises(ModelLoadFailure, match="cuda"):
        choose_device("cuda", "auto")


@pytest.mark.parametrize(
    "capability, installed, expected",
    [
        ((9, 0), {"flash_attn_interface", "flash_attn"}, "_flash_3"),
        ((9, 0), {"flash_attn"}, "flash"),
        ((8, 0), {"flash_attn_interface", "flash_attn"}, "flash"),
        ((7, 5), {"flash_attn"}, None),
        ((9, 0), set[str](), None),
    ],
)
def test_the_best_installed_attention_is_taken(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], installed: set[str], expected: str | None
) -> None:
    # Given a GPU of that kind, and packages
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    found = importlib.machinery.ModuleSpec("found", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found if name in installed else None)
    # Then
    assert choose_attention(CUDA, "auto") == expected


@pytest.mark.parametrize(
    "dtype, expected", [(torch.bfloat16, "flash"), (torch.float16, "flash"), (torch.float32, None)]
)
def test_flash_attention_is_for_half_precision(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, expected: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: importlib.machinery.ModuleSpec("found", None))
    assert choose_attention(replace(CUDA, dtype=dtype), "auto") == expected


@pytest.mark.parametrize("wanted, expected", [("native", None), ("flash", "flash"), ("flash3", "_flash_3")])
def test_attention_can_be_chosen(wanted: Attention, expected: str | None) -> None:
    assert choose_attention(CUDA, wanted) == expected


@pytest.mark.parametrize("cores, expected", [({0}, 1), ({0, 5}, 1), (set(range(8)), 7)], ids=str)
def test_one_core_is_left_for_other_work(monkeypatch: pytest.MonkeyPatch, cores: set[int], expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: cores, raising=False)
    assert default_cpu_threads() == expected


def test_on_a_cpu_attention_is_pytorchs_own() -> None:
    assert choose_attention(choose_device("cpu", "bfloat16"), "auto") is None


@pytest.mark.parametrize(
    "error, expected",
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("DefaultCPUAllocator"), False),
    ],
    ids=repr,
)
def test_out_of_memory_is_told_from_other_errors(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_real_allocation_that_fails_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
