"""Every JSON answer that the seed document shows comes out of the same job, keys in the same order."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from danqing.core.states import JobState
from danqing.core.studio import QueueStatus
from danqing.core.types import (
    DeviceStatus,
    Job,
    JobFailure,
    PoolStatus,
    Progress,
    Stage,
    WorkerState,
    WorkerStatus,
)
from danqing.dialects.turbo.dialect import turbo
from danqing.dialects.turbo.envelope import success
from danqing.dialects.turbo.translate_out import from_job, from_status, from_submitted, from_unfinished
from danqing.http.dialect import DialectOptions
from tests.dialects.turbo.seed_document import TASK_ID, example, section
from tests.fakes.domain import a_job, a_request

IMAGE_PATH = f"/path/to/outputs/{TASK_ID}.png"


def at(time: str) -> datetime:
    return datetime.fromisoformat(f"2024-01-01T{time}").replace(tzinfo=UTC)


PENDING = a_job(
    id=TASK_ID, request=a_request(prompt="A beautiful sunset over the ocean", seed=42), created_at=at("12:00:00.987654")
)
PROCESSING = replace(PENDING, state=JobState.PROCESSING, started_at=at("12:00:05"))
COMPLETED = replace(PROCESSING, state=JobState.COMPLETED, finished_at=at("12:00:30"))
FAILED = replace(
    PROCESSING,
    state=JobState.FAILED,
    finished_at=at("12:00:10"),
    failure=JobFailure(code="out_of_memory", message="Out of device memory."),
)
GIB = 2**30
READY = PoolStatus(
    workers=(
        WorkerStatus(
            id="w",
            state=WorkerState.READY,
            pid=1,
            restarts=0,
            models=("m",),
            device=DeviceStatus(
                id="cuda:0",
                name="NVIDIA GeForce RTX 4090",
                kind="cuda",
                memory_allocated_bytes=12 * GIB + GIB // 2,
                memory_reserved_bytes=14 * GIB,
                memory_total_bytes=24 * GIB,
            ),
        ),
    )
)


def told(data: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the wire models
    return json.loads(bytes(success(data).body))


def task(job: Job, *, position: int = 0, progress: Progress | None = None) -> dict[str, Any]:
    return told(from_job(job, queue_position=position, progress=progress, image_path=IMAGE_PATH))


def same(actual: object, documented: object) -> None:
    """Equal, and written in the same order of keys."""
    assert actual == documented
    assert json.dumps(actual) == json.dumps(documented)


def test_health() -> None:
    documented = json.loads(section("### 1. 健康检查").split("```json\n")[1].split("```")[0])

    health = turbo().health

    assert health is not None
    same(health.fields(READY, DialectOptions()), documented)


def test_submit() -> None:
    documented = json.loads(
        section("### 2. 提交生成任务").split("**响应示例**:")[1].split("```json\n")[1].split("```")[0]
    )

    same(told(from_submitted(PENDING, queue_position=3)), documented)


def test_pending() -> None:
    same(task(PENDING, position=2), example("**响应示例** (排队中)"))


def test_processing_has_progress_last() -> None:
    # Given a job after four of nine steps
    answer = task(PROCESSING, progress=Progress(stage=Stage.DENOISING, step=4, total_steps=9))

    # Then our one extension stands behind what the document has
    assert answer["data"].popitem() == ("progress", 44)
    same(answer, example("**响应示例** (生成中)"))


def test_processing_before_the_first_step() -> None:
    assert task(PROCESSING)["data"]["progress"] == 0


def test_completed() -> None:
    same(task(COMPLETED), example("**响应示例** (已完成)"))


def test_failed() -> None:
    # Given the document's own failure, whose text clients look for; ours says what to do as well
    documented = example("**响应示例** (失败)")
    documented["data"]["error_message"] += "：显存不足，请降低图像分辨率后重试"

    same(task(FAILED), documented)


def test_a_picture_too_large_for_the_device_has_the_documented_text_too() -> None:
    too_large = replace(FAILED, failure=JobFailure(code="too_large_for_device", message="It would not fit."))

    documented = example("**响应示例** (失败)")["data"]["error_message"]
    assert task(too_large)["data"]["error_message"].startswith(f"{documented}：图像尺寸超出")


def test_failed_before_it_started_has_no_start() -> None:
    data = task(replace(FAILED, started_at=None))["data"]

    assert "started_at" not in data
    assert data["completed_at"] == "2024-01-01T12:00:10"


def test_cancelled_is_told_as_failed() -> None:
    data = task(replace(FAILED, state=JobState.CANCELLED, failure=None))["data"]

    assert (data["status"], data["error_message"]) == ("failed", "任务已取消")


def test_result_of_an_unfinished_task() -> None:
    same(told(from_unfinished(PROCESSING)), example("**响应示例** (未完成)"))


def test_result_of_a_failed_task_says_why() -> None:
    assert told(from_unfinished(FAILED))["data"] == {
        "task_id": TASK_ID,
        "status": "failed",
        "message": "任务处理失败",
        "error_message": "CUDA out of memory：显存不足，请降低图像分辨率后重试",
    }


@pytest.mark.parametrize("job", [PENDING, PROCESSING, COMPLETED])
def test_adjustments_come_last_where_there_are_any(job: Job) -> None:
    data = task(replace(job, adjustments=("made at 128x128 and scaled to 1024x1024",)))["data"]

    assert data.popitem() == ("adjustments", ["made at 128x128 and scaled to 1024x1024"])


@pytest.mark.parametrize("state", JobState)
def test_every_state_has_a_word_of_the_document(state: JobState) -> None:
    data = task(replace(FAILED, state=state))["data"]

    assert data["status"] in {"pending", "processing", "completed", "failed"}


def test_status() -> None:
    # Given the document's figures; its queue_size is not the number of its pending tasks, ours is
    documented = example("**说明**: 查询系统整体状态")
    documented["data"]["queue"]["queue_size"] = 3
    queue = QueueStatus(max_queue_size=100, pending=3, processing=1, completed=10, failed=0, cancelled=0)

    same(told(from_status(queue, READY)), documented)


def test_status_without_a_gpu_is_all_nulls() -> None:
    cpu = replace(READY.workers[0], device=DeviceStatus(id="cpu", name="Some CPU", kind="cpu"))
    queue = QueueStatus(max_queue_size=7, pending=0, processing=0, completed=0, failed=2, cancelled=3)

    data = told(from_status(queue, PoolStatus(workers=(cpu,))))["data"]

    assert data["gpu"] == {
        "available": False,
        "device": None,
        "memory_allocated_gb": None,
        "memory_reserved_gb": None,
        "memory_total_gb": None,
        "memory_usage_percent": None,
    }
    assert (data["queue"]["failed_tasks"], data["queue"]["total_tasks"]) == (5, 5)
    assert data["model_loaded"] is True


@pytest.mark.parametrize("state", [WorkerState.STARTING, WorkerState.RESTARTING, WorkerState.BROKEN])
def test_the_gpu_of_a_worker_that_says_nothing_is_there(state: WorkerState) -> None:
    silent = replace(READY.workers[0], state=state, device=None, device_id="cuda:1+cuda:2")
    queue = QueueStatus(max_queue_size=7, pending=0, processing=0, completed=0, failed=0, cancelled=0)

    gpu = told(from_status(queue, PoolStatus(workers=(silent,))))["data"]["gpu"]
    beside = told(from_status(queue, PoolStatus(workers=(silent, *READY.workers))))["data"]["gpu"]

    assert (gpu.pop("available"), gpu.pop("device")) == (True, "cuda:1")
    assert set(gpu.values()) == {None}
    # One that tells more goes before it
    assert (beside["device"], beside["memory_total_gb"]) == ("cuda:0", 24.0)


@pytest.mark.parametrize(
    ("state", "status", "loaded"),
    [
        (WorkerState.STARTING, "healthy", False),
        (WorkerState.READY, "healthy", True),
        (WorkerState.BUSY, "healthy", True),
        (WorkerState.RESTARTING, "healthy", False),
        (WorkerState.BROKEN, "unhealthy", False),
    ],
)
def test_health_by_worker_state(state: WorkerState, status: str, loaded: bool) -> None:
    health = turbo().health
    assert health is not None

    answer = health.fields(PoolStatus(workers=(replace(READY.workers[0], state=state),)), DialectOptions())

    assert answer["data"] == {"status": status, "model_loaded": loaded}
