"""`step_cache` of generations, edits and variations."""

from pathlib import Path

from tests.dialects.openai.parts import editing_card, editing_house, files, png, talking


async def test_it_reaches_the_request(tmp_path: Path) -> None:
    house = editing_house(tmp_path, card=editing_card(step_cache=True))
    async with talking(house) as client:
        answers = [
            await client.post("/v1/images/generations", json={"prompt": "p", "step_cache": 0.5}),
            await client.post("/v1/images/edits", files=files(images=png()), data={"prompt": "p", "step_cache": "0.5"}),
            await client.post("/v1/images/variations", files=files(image=png()), data={"step_cache": "0.5"}),
            await client.post("/v1/images/generations", json={"prompt": "q", "step_cache": 0}),
        ]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert all("x-danqing-warning" not in answer.headers for answer in answers)
    batches = await house.services.gallery.newest(limit=100)
    assert sorted(str(job.request.step_cache) for batch in batches for job in batch.jobs) == ["0.5"] * 3 + ["None"]


async def test_what_is_wrong_with_it_is_told(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path)) as client:
        for given, message in (
            (0.5, "Not supported: step_cache by model tiny."),
            (1.5, "step_cache must be at most 1.0."),
            ("0.5", "step_cache must be a number."),
        ):
            answer = await client.post("/v1/images/generations", json={"prompt": "p", "step_cache": given})
            assert (answer.status_code, answer.json()["error"]["message"]) == (400, message)
            assert answer.json()["error"]["param"] == "step_cache"
