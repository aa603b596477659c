"""How the tests of zimage ask: one client of the dialect's own app, as one caller."""

from typing import Any

import httpx2

from danqing.dialects.zimage.dialect import zimage
from danqing.http.keys import Keys
from tests.dialects.house import House

ADMIN, ANNE, BOB = "admin-key", "client-key-1", "client-key-2"
KEYS = Keys(enabled=True, ordinary=frozenset({ANNE, BOB}), admin=ADMIN)


async def ask(
    house: House,
    method: str,
    path: str,
    *,
    key: str | None = None,
    **options: Any,  # noqa: ANN401 - httpx2's
) -> httpx2.Response:
    headers = {} if key is None else {"X-Auth-Key": key}
    async with house.client(zimage(), alone=True) as client:
        return await client.request(method, path, headers=headers | options.pop("headers", {}), **options)


async def answered(house: House, method: str, path: str, *, key: str | None = None, **options: Any) -> Any:  # noqa: ANN401 - JSON
    """The JSON of a 200."""
    answer = await ask(house, method, path, key=key, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def submit(house: House, *, key: str | None = None, **fields: object) -> str:
    """The task's id."""
    body = {"prompt": "a cat", "width": 96, "height": 64, "num_inference_steps": 2} | fields
    return (await answered(house, "POST", "/v1/images/generate", key=key, json=body))["task_id"]


async def submit_in_batch(house: House, batch_id: str, index: int, size: int, *, key: str | None = None) -> str:
    metadata = {"batch_id": batch_id, "batch_index": index, "batch_size": size}
    return await submit(house, key=key, seed=42 + index, metadata=metadata)


def job_id(task_id: str) -> str:
    """As the core and the painter know the task."""
    return "-".join((task_id[:8], task_id[8:12], task_id[12:16], task_id[16:20], task_id[20:]))


async def paint(house: House, task_id: str) -> None:
    """From pending to completed."""
    await house.painter.start(job_id(task_id))
    await house.painter.finish(job_id(task_id))
