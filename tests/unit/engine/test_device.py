"""Which device and number format are taken."""

import contextlib
import os
from pathlib import Path

import pytest
import torch

from danqing.core.errors import ModelLoadFailure
from danqing.core.types import DeviceStatus
from danqing.engine import device as device_module
from danqing.engine.device import choose_device, default_cpu_threads, is_out_of_memory
from danqing.engine.spec import Dtype


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


@pytest.mark.usefixtures("no_cuda")
@pytest.mark.parametrize(
    "told, expected",
    [
        ("flags\t\t: fpu avx512f avx512_bf16 avx512_vnni", torch.bfloat16),
        ("flags\t\t: fpu amx_bf16 amx_tile", torch.bfloat16),
        ("flags\t\t: fpu avx2 avx512f", torch.float32),
        ("Features\t: fp asimd bf16", torch.float32),
        ("", torch.float32),
        (None, torch.float32),
    ],
    ids=str,
)
def test_a_cpu_that_multiplies_bfloat16_uses_it(
    told: str | None, expected: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "cpuinfo"
    if told is not None:
        info.write_text(f"processor\t: 0\nmodel name\t: A core\n{told}\n")
    monkeypatch.setattr(device_module, "CPU_INFO", info)
    assert choose_device("cpu", "auto").dtype is expected
    assert choose_device("cpu", "float32").dtype is torch.float32


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


@pytest.mark.parametrize("cores, expected", [({0}, 1), ({0, 5}, 1), (set(range(8)), 7)], ids=str)
def test_one_core_is_left_for_other_work(monkeypatch: pytest.MonkeyPatch, cores: set[int], expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: cores, raising=False)
    assert default_cpu_threads() == expected


@pytest.mark.parametrize(
    "error, expected",
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("DefaultCPUAllocator"), False),
        (RuntimeError("CUDA error: out of memory"), True),  # pinned
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("CUDA driver error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(handle)`"), False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False),
        (RuntimeError("Triton Error [CUDA]: out of memory"), True),
        (RuntimeError("Triton Error [CUDA]: device kernel image is invalid"), False),
    ],
    ids=repr,
)
def test_out_of_memory_is_told_from_other_errors(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_real_allocation_that_fails_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.usefixtures("two_gpus")
def test_only_the_device_itself_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    choose_device("cuda:1", "auto").make_current()
    choose_device("cpu", "auto").make_current()
    assert current == [torch.device("cuda", 1)]


@pytest.mark.usefixtures("two_gpus")
def test_what_work_takes_is_not_told_from_what_is_done_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a GPU on which something takes 40 bytes while it runs
    for question, answer in {
        "memory_allocated": 10,
        "max_memory_allocated": 50,
        "reset_peak_memory_stats": None,
    }.items():
        monkeypatch.setattr(torch.cuda, question, lambda device, answer=answer: answer)
    device = choose_device("cuda:0", "auto")
    with device.measured() as use:
        pass
    assert use.working_bytes == 40
    # When another thread does something there too, from before, meanwhile or until afterwards
    with device.side_work.going_on(), device.measured() as during:
        pass
    with device.measured() as meanwhile, device.side_work.going_on():
        pass
    with contextlib.ExitStack() as stack, device.measured() as until:
        stack.enter_context(device.side_work.going_on())
    # Then nobody knows, and afterwards everybody does again
    assert (during.working_bytes, meanwhile.working_bytes, until.working_bytes) == (None, None, None)
    with device.measured() as use:
        pass
    assert use.working_bytes == 40
