"""What is told of errors, and which of them a process does not survive."""

import pytest

from danqing.core.errors import EngineFailure, ModelLoadFailure, OutOfMemory, StorageFailure, WorkerLost
from danqing.core.types import JobFailure
from danqing.workers.failures import describe, poisons_process

SECRET = "/home/me/model: a library's words"


def caused(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (OutOfMemory(), "out_of_memory", False),
        (MemoryError(SECRET), "out_of_memory", False),
        (StorageFailure(), "storage_failure", False),
        (WorkerLost(), "worker_lost", True),
        (RuntimeError(SECRET), "engine_failure", False),
    ],
)
def test_errors_are_told_by_code_and_in_our_own_words(error: Exception, code: str, retryable: bool) -> None:
    failure = describe(error)
    assert (failure.code, failure.retryable) == (code, retryable)
    assert SECRET not in failure.message


def test_a_poisoned_process_makes_any_failure_worth_another_attempt() -> None:
    expected = JobFailure(code="engine_failure", message=EngineFailure.default_message, retryable=True)
    assert describe(RuntimeError(SECRET), poisoned=True) == expected


def test_an_unknown_error_may_speak_as_another_class() -> None:
    assert describe(KeyError(SECRET), otherwise=ModelLoadFailure).code == "model_load_failure"
    assert describe(OutOfMemory(), otherwise=ModelLoadFailure).code == "out_of_memory"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("HIP error: an unspecified launch failure"),
        RuntimeError("an illegal memory access was encountered"),
        RuntimeError("uncorrectable ECC error"),
        RuntimeError("NVRM: Xid 79"),
        caused(EngineFailure(), RuntimeError("CUDA error: misaligned address")),
    ],
)
def test_sticky_device_errors_poison_the_process(error: Exception) -> None:
    assert poisons_process(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("HIP out of memory. Tried to allocate 2 GiB"),
        caused(OutOfMemory(), RuntimeError("CUDA error: out of memory")),
        MemoryError(),
        ValueError("SPECCED"),
        EngineFailure(),
    ],
)
def test_other_errors_do_not(error: Exception) -> None:
    assert not poisons_process(error)
