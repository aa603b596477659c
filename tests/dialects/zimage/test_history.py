"""`/v1/history`: paging, what a batch tells, what deleting does."""

from pathlib import Path
from typing import Any

import pytest

from tests.dialects.house import House
from tests.dialects.zimage.asking import answered, ask, job_id, paint, submit, submit_in_batch


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def history(house: House, **query: int) -> list[Any]:
    return await answered(house, "GET", "/v1/history", params=query)


async def test_an_empty_history(house: House) -> None:
    assert await history(house) == []


async def test_a_batch_grows_as_its_images_come(house: House) -> None:
    # Given the third and the first of four
    third = await submit_in_batch(house, "b", 2, 4)
    first = await submit_in_batch(house, "b", 0, 4)
    await paint(house, third)

    # Then the history shows one entry, with what the lowest index has
    (summary,) = await history(house)
    assert (summary["task_id"], summary["status"]) == ("b", "PENDING")
    assert (summary["batch_size"], summary["success_count"], summary["failed_count"]) == (4, 1, 0)
    assert (summary["seed"], summary["base_seed"]) == (42, 42)
    assert summary["relative_path"].endswith(f"_{third}.png")

    # And the detail shows both by index
    detail = await answered(house, "GET", "/v1/history/b")
    assert [(item["task_id"], item["index"], item["status"]) for item in detail["items"]] == [
        (first, 0, "pending"),
        (third, 2, "success"),
    ]
    assert "relative_path" not in detail["batch"]
    assert {k: v for k, v in summary.items() if k != "relative_path"} == detail["batch"]


async def test_a_batch_is_a_success_when_all_images_that_were_announced_are_there(house: House) -> None:
    # Given a client that sends the images of a batch one after the other, each when the one before is there
    for index, status in enumerate(["PENDING", "PENDING", "SUCCESS"]):
        await paint(house, await submit_in_batch(house, "b", index, 3))

        # Then the batch is pending until the last
        (summary,) = await history(house)
        assert (summary["status"], summary["success_count"]) == (status, index + 1)
        assert (await answered(house, "GET", "/v1/history/b"))["batch"]["status"] == status


async def test_a_task_without_a_batch_is_one(house: House) -> None:
    task_id = await submit(house)

    (summary,) = await history(house)

    assert (summary["task_id"], summary["batch_size"]) == (job_id(task_id), 1)
    detail = await answered(house, "GET", f"/v1/history/{summary['task_id']}")
    assert [item["task_id"] for item in detail["items"]] == [task_id]


async def test_pages_newest_first(house: House) -> None:
    # Given 25 batches
    for number in range(25):
        await submit_in_batch(house, f"b{number}", 0, 1)
    newest_first = [f"b{number}" for number in reversed(range(25))]

    def ids(page: list[Any]) -> list[str]:
        return [summary["task_id"] for summary in page]

    # Then there are twenty on a page that does not say otherwise, and pages join without gap or overlap
    assert ids(await history(house)) == newest_first[:20]
    assert ids(await history(house, offset=20)) == newest_first[20:]
    assert ids(await history(house, limit=10, offset=5)) == newest_first[5:15]
    assert ids(await history(house, limit=1000)) == newest_first
    assert await history(house, offset=25) == []
    assert await history(house, offset=2**31 - 1) == []


async def test_a_slash_at_the_end_is_no_batch_without_an_id(house: House) -> None:
    await submit_in_batch(house, "first", 0, 1)
    await submit_in_batch(house, "second", 0, 1)

    listed = await answered(house, "GET", "/v1/history/?limit=1")

    assert listed == await history(house, limit=1)
    assert [summary["task_id"] for summary in listed] == ["second"]
    for method, path in (("DELETE", "/v1/history/"), ("GET", "/v1/history//")):
        assert (await ask(house, method, path)).json() == {"detail": "Batch not found"}


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("limit", "0", "greater_than_equal"),
        ("limit", "1001", "less_than_equal"),
        ("limit", "-1", "greater_than_equal"),
        ("limit", "many", "int_parsing"),
        ("limit", "", "int_parsing"),
        ("offset", "-1", "greater_than_equal"),
        ("offset", str(2**31), "less_than"),
        ("offset", "9" * 30, "less_than"),
        ("offset", "1.5", "int_parsing"),
    ],
)
async def test_pages_that_cannot_be(house: House, name: str, value: str, kind: str) -> None:
    answer = await ask(house, "GET", "/v1/history", params={name: value})

    (wrong,) = answer.json()["detail"]
    assert (answer.status_code, wrong["loc"], wrong["type"]) == (422, ["query", name], kind)


@pytest.mark.parametrize(
    ("limit", "words"), [("0", "greater than or equal to 1"), ("5000", "less than or equal to 1000")]
)
async def test_who_asks_for_too_much_is_told_how_much_there_is(house: House, limit: str, words: str) -> None:
    answer = await ask(house, "GET", "/v1/history", params={"limit": limit})

    assert answer.json()["detail"][0]["msg"] == f"Input should be {words}"


@pytest.mark.parametrize("batch_id", ["a/b", "..x/.y/z..", "...", "50%", "批次 1", "?&#", "x" * 128])
async def test_any_batch_id_can_be_asked_for_and_deleted(house: House, batch_id: str) -> None:
    await submit_in_batch(house, batch_id, 0, 1)
    (summary,) = await history(house)
    assert summary["task_id"] == batch_id
    path = "/v1/history/" + "".join(f"%{byte:02X}" for byte in batch_id.encode())

    assert (await answered(house, "GET", path))["batch"]["task_id"] == batch_id
    assert (await answered(house, "DELETE", path))["task_id"] == batch_id
    assert await history(house) == []


async def test_deleting_keeps_files_and_tasks(house: House) -> None:
    # Given a batch with a picture, and one image under way
    done, waiting = await submit_in_batch(house, "b", 0, 2), await submit_in_batch(house, "b", 1, 2)
    await paint(house, done)
    status = await answered(house, "GET", f"/v1/tasks/{done}")

    # When it is deleted
    answer = await answered(house, "DELETE", "/v1/history/b")

    # Then the history knows it no more
    assert answer == {"task_id": "b", "status": "deleted", "message": "Batch deleted from history"}
    assert await history(house) == []
    for method in ("GET", "DELETE"):
        gone = await ask(house, method, "/v1/history/b")
        assert (gone.status_code, gone.json()) == (404, {"detail": "Batch not found"})

    # But the task, its files and their addresses are as before, and the other image is still made
    assert await answered(house, "GET", f"/v1/tasks/{done}") == status
    for which in ("output_path", "preview_output_path"):
        assert house.artifacts.read(status["result"][which].rpartition("/")[2])
    assert (await ask(house, "GET", status["image_url"])).status_code == 200
    await paint(house, waiting)
    assert (await answered(house, "GET", f"/v1/tasks/{waiting}"))["status"] == "SUCCESS"
    assert await history(house) == []

    # And an image that joins the id now begins a new batch
    await submit_in_batch(house, "b", 2, 3)
    assert [item["index"] for item in (await answered(house, "GET", "/v1/history/b"))["items"]] == [2]


async def test_no_such_batch(house: House) -> None:
    for batch_id in ("unknown", "x" * 5000, "%00", "%ff"):
        for method in ("GET", "DELETE"):
            answer = await ask(house, method, f"/v1/history/{batch_id}")
            assert (answer.status_code, answer.json()) == (404, {"detail": "Batch not found"})
