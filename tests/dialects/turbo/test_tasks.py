"""The way of a task through `/api/task`, `/api/result` and `/api/status`."""

from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
from PIL import Image

from danqing.core.errors import JobTimeout
from danqing.core.types import DeviceStatus
from danqing.dialects.turbo.dialect import turbo
from tests.dialects.house import House

UNKNOWN = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def ask(house: House, method: str, path: str, **options: Any) -> httpx2.Response:  # noqa: ANN401 - httpx2's
    async with house.client(turbo(), alone=True) as client:
        return await client.request(method, path, **options)


async def submit(house: House) -> str:
    answer = await ask(house, "POST", "/api/generate", json={"prompt": "海上日落", "width": 96, "height": 64})
    return answer.json()["data"]["task_id"]


async def task(house: House, task_id: str) -> dict[str, Any]:
    answer = await ask(house, "GET", f"/api/task/{task_id}")
    assert answer.status_code == 200
    return answer.json()["data"]


async def test_from_pending_to_a_picture(house: House) -> None:
    # Given two tasks
    task_id, second = await submit(house), await submit(house)
    assert (await task(house, task_id))["queue_position"] == 1
    assert (await task(house, second))["queue_position"] == 2

    # When the first is taken and has done three of four steps
    await house.painter.start(task_id)
    house.painter.step(task_id, 3, 4)

    # Then the task says so, its place in the queue is given up, and there is no picture yet
    shown = await task(house, task_id)
    assert (shown["status"], shown["progress"], shown["queue_position"]) == ("processing", 75, 0)
    assert (await task(house, second))["queue_position"] == 1
    answer = await ask(house, "GET", f"/api/result/{task_id}")
    assert answer.json()["data"] == {"task_id": task_id, "status": "processing", "message": "任务尚未完成"}

    # When it is finished
    await house.painter.finish(task_id)

    # Then the picture is served, and lies where the task says
    shown = await task(house, task_id)
    assert shown["status"] == "completed"
    assert "progress" not in shown
    stored = house.artifacts.read(f"{task_id}.png")
    assert shown["image_path"] == house.artifacts.location(f"{task_id}.png")
    with Image.open(BytesIO(stored)) as picture:
        assert picture.size == (96, 64)
    answer = await ask(house, "GET", f"/api/result/{task_id}")
    assert answer.content == stored
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == f'inline; filename="{task_id}.png"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, max-age=86400, immutable"


async def test_a_failed_task_says_why(house: House) -> None:
    task_id = await submit(house)
    await house.painter.start(task_id)
    house.painter.failure = JobTimeout()
    await house.painter.fail(task_id)

    assert (await task(house, task_id))["error_message"] == "任务超时"
    answer = await ask(house, "GET", f"/api/result/{task_id}")
    assert answer.status_code == 200
    assert answer.json()["data"]["status"] == "failed"


async def test_a_picture_that_is_gone(house: House) -> None:
    # Given a completed task whose file somebody has removed
    task_id = await submit(house)
    await house.painter.start(task_id)
    await house.painter.finish(task_id)
    house.artifacts.remove(f"{task_id}.png")

    # Then the task is still shown, and the result is not there
    assert (await task(house, task_id))["status"] == "completed"
    answer = await ask(house, "GET", f"/api/result/{task_id}")
    assert answer.status_code == 404
    assert answer.json() == {"code": 404, "message": "图像文件不存在", "data": {}}


@pytest.mark.parametrize("path", ["/api/task/", "/api/result/"])
@pytest.mark.parametrize("task_id", [UNKNOWN, "1", "任务", "%00", "..%5c..", "x" * 3000])
async def test_an_unknown_task(house: House, path: str, task_id: str) -> None:
    answer = await ask(house, "GET", path + task_id)

    assert answer.status_code == 404
    assert answer.json() == {"code": 404, "message": "任务不存在", "data": {}}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/nothing"),
        ("GET", "/health/"),
        ("GET", "/api"),
        ("GET", "/api/task"),
        ("GET", "/api/task/"),
        ("GET", "/api/task/a/b"),
        ("GET", "/api/result/..%2f..%2fetc%2fpasswd"),
        ("GET", "/livez"),
        ("POST", "/v1/images/generate"),
    ],
)
async def test_an_unknown_path(house: House, method: str, path: str) -> None:
    answer = await ask(house, method, path)

    assert answer.status_code == 404
    assert answer.json() == {"code": 404, "message": "接口不存在", "data": {}}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/api/generate", "POST"),
        ("PUT", "/api/generate", "POST"),
        ("POST", "/api/status", "GET, HEAD"),
        ("DELETE", f"/api/task/{UNKNOWN}", "GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
    ],
)
async def test_a_method_that_is_not_there(house: House, method: str, path: str, allowed: str) -> None:
    answer = await ask(house, method, path)

    assert answer.status_code == 405
    assert answer.json() == {"code": 405, "message": "请求方法不允许", "data": {}}
    assert answer.headers["allow"] == allowed


async def test_status_counts(tmp_path: Path) -> None:
    # Given one task in each of four states, and a GPU
    gpu = DeviceStatus(
        id="cuda:0",
        name="NVIDIA H100 80GB HBM3",
        kind="cuda",
        memory_allocated_bytes=3 * 2**30,
        memory_reserved_bytes=4 * 2**30,
        memory_total_bytes=24 * 2**30,
    )
    house = House(tmp_path, device=gpu, max_queue_size=50)
    failing, done, running, _ = [await submit(house) for _ in range(4)]
    for task_id in (failing, done, running):
        await house.painter.start(task_id)
    house.painter.failure = JobTimeout()
    await house.painter.fail(failing)
    await house.painter.finish(done)

    data = (await ask(house, "GET", "/api/status")).json()["data"]

    assert data == {
        "queue": {
            "queue_size": 1,
            "max_queue_size": 50,
            "pending_tasks": 1,
            "processing_tasks": 1,
            "completed_tasks": 1,
            "failed_tasks": 1,
            "total_tasks": 4,
        },
        "gpu": {
            "available": True,
            "device": "cuda:0",
            "memory_allocated_gb": 3.0,
            "memory_reserved_gb": 4.0,
            "memory_total_gb": 24.0,
            "memory_usage_percent": 12.5,
        },
        "model_loaded": True,
    }


async def test_a_fault_of_ours_is_told_without_its_text(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a store that breaks in a way nobody foresaw
    async def broken(job_id: str) -> None:
        raise ZeroDivisionError("/secret/path")

    monkeypatch.setattr(house.store, "get", broken)

    with structlog.testing.capture_logs() as lines:
        answer = await ask(house, "GET", f"/api/task/{UNKNOWN}")

    assert [line["event"] for line in lines] == ["request_failed", "http_request"]

    assert answer.status_code == 500
    assert answer.json() == {"code": 500, "message": "服务器内部错误", "data": {}}


async def test_openapi_tells_no_status_that_never_comes(house: House) -> None:
    schema = (await ask(house, "GET", "/openapi.json")).json()

    statuses = {
        status
        for path, operations in schema["paths"].items()
        if path.startswith("/api/")
        for operation in operations.values()
        for status in operation["responses"]
    }
    assert statuses == {"200", "4XX", "5XX"}


async def test_openapi_states_the_documents_table_exactly(house: House) -> None:
    schema = (await ask(house, "GET", "/openapi.json")).json()

    fields = schema["components"]["schemas"]["GenerateRequest"]["properties"]
    told = {name: (field.get("default"), *bounds(field)) for name, field in fields.items() if name != "prompt"}
    assert told == {
        "height": (1024, 64, 2048),
        "width": (1024, 64, 2048),
        "num_inference_steps": (9, 1, 50),
        "seed": (None, 0, 2**63 - 1),
    }
    assert fields["prompt"]["pattern"] == r"^[^\u0000]*[^\s\u0000][^\u0000]*$"  # blanks only and NULs are refused


def bounds(field: dict[str, Any]) -> tuple[int, int]:
    """Least and greatest value, both integers."""
    whole = next(kind for kind in field["anyOf"] if kind["type"] == "integer")
    least, greatest = whole["minimum"], whole["maximum"] if "maximum" in whole else whole["exclusiveMaximum"] - 1
    assert (type(least), type(greatest)) == (int, int)
    return least, greatest


async def test_openapi_describes_health(house: House) -> None:
    schema = (await ask(house, "GET", "/openapi.json")).json()

    answer = schema["paths"]["/health"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    envelope = schema["components"]["schemas"][answer["$ref"].rpartition("/")[2]]
    assert list(envelope["properties"]) == ["code", "message", "data"]
    health = schema["components"]["schemas"][envelope["properties"]["data"]["$ref"].rpartition("/")[2]]
    assert list(health["properties"]) == ["status", "model_loaded"]
