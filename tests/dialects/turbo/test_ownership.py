"""With keys on, a task is there for its owner and for the administrator, and for nobody else."""

from pathlib import Path

from danqing.dialects.turbo.dialect import turbo
from danqing.http.keys import Keys
from tests.dialects.house import House

ANN, BOB, CHIEF = ({"X-Auth-Key": key} for key in ("ann", "bob", "chief"))
BODY = {"prompt": "海上日落", "width": 96, "height": 64}


async def test_each_key_sees_its_own_tasks(tmp_path: Path) -> None:
    # Given a task of one key, with its picture
    house = House(tmp_path, keys=Keys(enabled=True, ordinary=frozenset({"ann", "bob"}), admin="chief"))
    async with house.client(turbo(), alone=True) as client:
        submitted = await client.post("/api/generate", json=BODY, headers=ANN)
        task_id = submitted.json()["data"]["task_id"]
        await house.painter.start(task_id)
        await house.painter.finish(task_id)

        # Then others are told that there is none, and who has no key that he needs one
        for path in (f"/api/task/{task_id}", f"/api/result/{task_id}"):
            assert (await client.get(path, headers=ANN)).status_code == 200
            assert (await client.get(path, headers=CHIEF)).status_code == 200
            strange = await client.get(path, headers=BOB)
            assert strange.json() == {"code": 404, "message": "任务不存在", "data": {}}
            nobody = await client.get(path)
            assert nobody.json() == {"code": 401, "message": "API密钥缺失或无效", "data": {}}
            assert nobody.headers["www-authenticate"] == 'Bearer realm="danqing"'
        assert (await client.post("/api/generate", json=BODY)).status_code == 401
        assert (await client.get("/api/status")).status_code == 401
        assert (await client.get("/health")).status_code == 200
