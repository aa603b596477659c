"""The way of a task through `/v1/tasks`, its cancel and its pictures."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from danqing.core.clock import utc_now
from danqing.core.errors import OutOfMemory
from tests.dialects.house import House
from tests.dialects.zimage.asking import answered, ask, job_id, paint, submit
from tests.fakes.domain import LOST

UNKNOWN = "0" * 32


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def task(house: House, task_id: str) -> Any:  # noqa: ANN401 - JSON
    return await answered(house, "GET", f"/v1/tasks/{task_id}")


async def cancel(house: House, task_id: str) -> Any:  # noqa: ANN401 - JSON
    return await answered(house, "POST", f"/v1/tasks/{task_id}/cancel")


def format_of(content: bytes) -> tuple[str | None, tuple[int, int]]:
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return image.format, image.size


async def test_from_pending_to_a_picture(house: House) -> None:
    # Given a task
    submitted = await answered(house, "POST", "/v1/images/generate", json={"prompt": "a cat", "metadata": {"n": 1}})
    task_id = submitted["task_id"]
    assert submitted["status_url"] == f"/v1/tasks/{task_id}"
    status = await answered(house, "GET", submitted["status_url"])
    assert (status["status"], status["progress"], status["result"]) == ("PENDING", 0, None)

    # When it is taken, and has done three of four steps, the status follows
    await house.painter.start(job_id(task_id))
    assert (await task(house, task_id))["status"] == "STARTED"
    house.painter.step(job_id(task_id), 3, 4)
    status = await task(house, task_id)
    assert (status["status"], status["progress"]) == ("PROGRESS", 75)

    # When it is finished
    await house.painter.finish(job_id(task_id))
    status = await task(house, task_id)

    # Then the result is whole, the files lie where it says, and its addresses lead to the preview and the picture
    result = status["result"]
    assert (status["status"], status["progress"], status["error"]) == ("SUCCESS", 100, None)
    assert (result["image_id"], result["prompt"], result["metadata"]) == (task_id, "a cat", {"n": 1})
    assert Path(result["output_path"]).name == f"{job_id(task_id)}.png"
    assert Path(result["preview_output_path"]).name == f"{job_id(task_id)}.webp"
    preview = await ask(house, "GET", status["image_url"])
    original = await ask(house, "GET", f"/generated-images/{result['relative_path']}")
    assert (preview.headers["content-type"], original.headers["content-type"]) == ("image/webp", "image/png")
    assert format_of(preview.content) == ("WEBP", (1024, 1024))
    assert format_of(original.content) == ("PNG", (1024, 1024))
    assert status["image_url"] == f"/generated-images/{result['preview_relative_path']}"
    assert "immutable" in preview.headers["cache-control"]


async def test_while_further_pictures_are_made_the_task_goes_on(house: House) -> None:
    task_id = await submit(house)
    await house.painter.start(job_id(task_id))

    await house.painter.generate(job_id(task_id))

    status = await task(house, task_id)
    assert (status["status"], status["progress"], status["image_url"]) == ("PROGRESS", 100, None)


async def test_a_failure(house: House) -> None:
    task_id = await submit(house)
    house.painter.failure = OutOfMemory("torch.cuda.OutOfMemoryError: secret")
    await house.painter.start(job_id(task_id))
    await house.painter.fail(job_id(task_id))

    answer = await ask(house, "GET", f"/v1/tasks/{task_id}")

    status = answer.json()
    assert (status["status"], status["error_code"], status["result"]) == ("FAILURE", "OUT_OF_MEMORY", None)
    assert status["error"]
    assert status["error_hint"]
    assert "secret" not in answer.text


async def test_after_a_lost_worker_it_is_a_retry(house: House) -> None:
    task_id = await submit(house)
    await house.painter.start(job_id(task_id))
    await house.store.give_back(job_id(task_id), 1, LOST, utc_now())

    status = await task(house, task_id)

    assert (status["status"], status["progress"], status["error"]) == ("RETRY", 0, None)


@pytest.mark.parametrize("running", [False, True])
async def test_cancel(house: House, running: bool) -> None:
    task_id = await submit(house)
    if running:
        await house.painter.start(job_id(task_id))

    # When it is cancelled, and then once more
    first, second = await cancel(house, task_id), await cancel(house, task_id)

    # Then the first is taken, the second told that nothing is left to do, and the task says what has become of it
    assert first == {"task_id": task_id, "status": "CANCELLED", "message": "Cancellation requested"}
    assert second == {"task_id": task_id, "status": "REVOKED", "message": "Task has already been cancelled"}
    status = await task(house, task_id)
    assert (status["status"], status["error_code"]) == ("REVOKED", "CANCELLED")
    assert status["error_hint"]


async def test_a_finished_task_cannot_be_cancelled(house: House) -> None:
    task_id = await submit(house)
    await paint(house, task_id)

    assert (await cancel(house, task_id))["status"] == "SUCCESS"
    assert (await task(house, task_id))["status"] == "SUCCESS"


async def test_a_task_whose_picture_is_made_cannot_be_cancelled(house: House) -> None:
    task_id = await submit(house)
    await house.painter.start(job_id(task_id))
    await house.painter.generate(job_id(task_id))

    assert (await cancel(house, task_id))["status"] == "PROGRESS"


@pytest.mark.parametrize("task_id", [UNKNOWN, "nonsense", "a" * 5000, "%00", "..%2f..", "%ff", job_id(UNKNOWN)])
@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("POST", "/cancel")])
async def test_no_such_task(house: House, task_id: str, method: str, suffix: str) -> None:
    answer = await ask(house, method, f"/v1/tasks/{task_id}{suffix}")

    assert answer.status_code == 404
    assert answer.json() in ({"detail": "Task not found"}, {"detail": "Not Found"})


async def test_pictures_have_one_path_each(house: House) -> None:
    # Given a finished task and one that is not
    done, waiting = await submit(house), await submit(house)
    await paint(house, done)
    path = (await task(house, done))["result"]["relative_path"]
    day, name = path.split("/")
    time = name.split("_")[0]

    # Then nothing but the very path leads to a picture
    for wrong in (
        f"19991231/{name}",
        f"{day}/000001_{done}.png" if time != "000001" else f"{day}/000002_{done}.png",
        f"{day}/{time}_{waiting}.png",
        f"{day}/{time}_{UNKNOWN}.png",
        f"{day}/{time}_{done}.jpg",
        f"{day}/{job_id(done)}.png",
        f"{job_id(done)}.png",
        f"..%2f{path}",
        "",
        "../../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
    ):
        answer = await ask(house, "GET", f"/generated-images/{wrong}")
        assert (answer.status_code, answer.json()["detail"]) in ((404, "Image not found"), (404, "Not Found")), wrong


async def test_a_file_that_is_gone_is_not_found(house: House) -> None:
    task_id = await submit(house)
    await paint(house, task_id)
    status = await task(house, task_id)
    house.artifacts.remove(f"{job_id(task_id)}.webp")

    answer = await ask(house, "GET", status["image_url"])

    assert (answer.status_code, answer.json()) == (404, {"detail": "Image not found"})


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/v1/nothing", 404, "Not Found"),
        ("GET", "/v1/tasks", 404, "Not Found"),
        ("GET", "/v1/images/generate", 405, "Method Not Allowed"),
        ("DELETE", "/v1/tasks/x", 405, "Method Not Allowed"),
        ("POST", "/v1/history", 405, "Method Not Allowed"),
    ],
)
async def test_other_paths_and_methods(house: House, method: str, path: str, status: int, detail: str) -> None:
    answer = await ask(house, method, path)

    assert (answer.status_code, answer.json()) == (status, {"detail": detail})


async def test_root_and_health(house: House) -> None:
    assert await answered(house, "GET", "/") == {"message": "Z-Image API is running"}
    assert await answered(house, "GET", "/health") == {"status": "ok", "environment": "dev"}
