"""Images of one batch that arrive at once, over a real database."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from danqing.core.gallery import Gallery
from danqing.core.orders import Limits
from danqing.core.studio import Studio
from danqing.dialects.zimage.dialect import zimage
from danqing.store.sqlite import SqliteStores
from tests.dialects.house import House
from tests.dialects.zimage.asking import ANNE, BOB, KEYS, answered, job_id, submit_in_batch
from tests.fakes.domain import a_card
from tests.fakes.studio_parts import FixedCatalogue

SIZE = 40


class StoringHouse(House):
    """A house with its jobs in SQLite; nobody paints."""

    def __init__(self, root: Path, stores: SqliteStores) -> None:
        super().__init__(root, keys=KEYS)
        self.studio = Studio(
            store=stores.jobs,
            queue=self.painter,
            pool=self.painter,
            events=self.events,
            catalogue=FixedCatalogue(a_card()),
            artifacts=self.artifacts,
            limits=Limits(max_queue_size=1000),
        )
        self.services = replace(self.services, studio=self.studio, gallery=Gallery(stores.batches))


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[SqliteStores]:
    opened = await asyncio.to_thread(SqliteStores.open, tmp_path / "danqing.sqlite")
    yield opened
    await opened.close()


@pytest.fixture
def house(tmp_path: Path, stores: SqliteStores) -> House:
    return StoringHouse(tmp_path / "outputs", stores)


async def test_all_images_of_a_batch_at_once_are_one_batch(house: House) -> None:
    # Given two clients that use the same id
    def body(index: int) -> dict[str, object]:
        metadata = {"batch_id": "b", "batch_index": index, "batch_size": SIZE}
        return {"prompt": "a cat", "seed": 100 + index, "metadata": metadata}

    # When each sends all its images at once
    async with house.client(zimage(), alone=True) as client:

        async def send(index: int, key: str) -> httpx2.Response:
            return await client.post("/v1/images/generate", json=body(index), headers={"X-Auth-Key": key})

        calls = [(index, key) for index in reversed(range(SIZE)) for key in (ANNE, BOB)]
        answers = await asyncio.gather(*(send(*call) for call in calls))
    assert [answer.status_code for answer in answers] == [200] * 2 * SIZE

    # Then each has one batch, with every image of its own and no other, in order
    for key in (ANNE, BOB):
        mine = {
            call[0]: answer.json()["task_id"] for call, answer in zip(calls, answers, strict=True) if call[1] == key
        }
        (summary,) = await answered(house, "GET", "/v1/history", key=key)
        assert (summary["task_id"], summary["batch_size"], summary["base_seed"]) == ("b", SIZE, 100)
        items = (await answered(house, "GET", "/v1/history/b", key=key))["items"]
        assert [(item["index"], item["task_id"]) for item in items] == sorted(mine.items())


@pytest.mark.parametrize(
    ("images", "size"),
    [
        ([(0, 2), (1, 2), (4, 2)], 3),  # more of them than announced
        ([(1, 2), (2, 2)], 2),  # counted from 1
        ([(0, 1), (1, 4)], 4),  # more of them announced later
        ([(0, 4), (1, 1)], 4),
    ],
)
async def test_a_batch_is_as_large_as_announced_and_as_it_is(
    house: House, images: list[tuple[int, int]], size: int
) -> None:
    for index, announced in images:
        await submit_in_batch(house, "b", index, announced, key=ANNE)

    (summary,) = await answered(house, "GET", "/v1/history", key=ANNE)

    assert summary["batch_size"] == size


async def test_deleting_while_images_arrive_loses_no_task(house: House) -> None:
    # When a batch is deleted while its images are still coming
    await submit_in_batch(house, "b", 0, 8, key=ANNE)
    coming = [asyncio.create_task(submit_in_batch(house, "b", index, 8, key=ANNE)) for index in range(1, 8)]
    await answered(house, "DELETE", "/v1/history/b", key=ANNE)
    task_ids = await asyncio.gather(*coming)

    # Then every task is there, and what the history shows is of those that came later
    for task_id in task_ids:
        assert (await answered(house, "GET", f"/v1/tasks/{task_id}", key=ANNE))["status"] == "PENDING"
    shown = [
        item["task_id"]
        for summary in await answered(house, "GET", "/v1/history", key=ANNE)
        for item in (await answered(house, "GET", f"/v1/history/{summary['task_id']}", key=ANNE))["items"]
    ]
    assert set(shown) <= set(task_ids)


async def test_all_fields_come_back_from_the_database(house: House) -> None:
    metadata = {"batch_id": "b", "客户": [1, 2.5, None, {"a": "é"}]}
    body = {"prompt": "猫", "cfg_normalization": True, "cfg_truncation": 0.5, "metadata": metadata}
    submitted = await answered(house, "POST", "/v1/images/generate", key=ANNE, json=body)

    job = await house.studio.get(job_id(submitted["task_id"]))

    assert job.metadata == metadata
    assert (job.request.cfg_normalization, job.request.cfg_truncation) == (1.0, 0.5)
