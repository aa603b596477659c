"""`/api/image/{filename}`, and what authentication makes of it and of the WebSocket."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from websockets.exceptions import InvalidStatus

from danqing.dialects.live.dialect import live
from danqing.http.keys import Keys
from tests.dialects.house import House, ids_from
from tests.dialects.live.running import Served, a_house, create_job, running

KEYS = Keys(enabled=True, ordinary=frozenset({"anna's", "ben's"}), admin="boss's")


def bearing(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def made(server: Served, key: str | None = None) -> dict[str, str]:
    """The result of a job."""
    async with server.talk("same name", headers=bearing(key) if key else None) as client:
        await client.say(create_job())
        return (await client.hear_until("completed"))[-1]["result"]


@pytest.fixture
async def web() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(trust_env=False) as client:
        yield client


async def test_both_pictures_are_answered_under_their_names(tmp_path: Path, web: httpx2.AsyncClient) -> None:
    async with running(a_house(tmp_path, automatic=True)) as server:
        result = await made(server)
        for name, side in ((result["filename"], 64), (result["upscaled_filename"], 256)):
            answer = await web.get(f"{server.url}/api/image/{name}")
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
            assert name in answer.headers["content-disposition"]
            assert answer.content[16:24] == side.to_bytes(4, "big") * 2
            head = await web.head(f"{server.url}/api/image/{name}")
            assert (head.status_code, head.content) == (200, b"")

        assert "url" not in result


async def test_whatever_is_no_picture_is_404(tmp_path: Path, web: httpx2.AsyncClient) -> None:
    stored = "b0e4aaf0-bfa7-421b-9cb9-4c624c7fd139.png"
    house = a_house(tmp_path, automatic=True, new_id=ids_from(stored.removesuffix(".png")))
    async with running(house) as server:
        result = await made(server)
        assert house.artifacts.size(stored) > 0
        for name in (
            "nothing.png",
            "..%2f..%2fetc%2fpasswd",
            "%00",
            "20260204-a-abc12345.png",
            stored,  # the name that the file has on the disk
            result["filename"].replace("a-pizza", "a-pasta"),
            result["filename"].upper(),
            "x" * 5000,
        ):
            answer = await web.get(f"{server.url}/api/image/{name}")
            assert (answer.status_code, answer.json()) in (
                (404, {"detail": "Image not found."}),
                (404, {"detail": "Not found."}),
            ), name


async def test_with_authentication_a_picture_needs_its_owner_or_a_signature(
    tmp_path: Path, web: httpx2.AsyncClient
) -> None:
    async with running(a_house(tmp_path, automatic=True, keys=KEYS)) as server:
        result = await made(server, "anna's")
        address = f"{server.url}/api/image/{result['filename']}"

        async def status(url: str, key: str | None = None) -> int:
            return (await web.get(url, headers=bearing(key) if key else None)).status_code

        assert await status(address) == 404
        assert await status(address, "anna's") == 200
        assert await status(address, "ben's") == 404
        assert await status(address, "boss's") == 200

        # Then the addresses that are handed out work for an <img>, and no others
        assert await status(server.url + result["url"]) == 200
        assert await status(server.url + result["upscaled_url"]) == 200
        assert await status(server.url + result["url"].replace(".png", "-upscaled.png")) == 404
        assert await status(server.url + result["url"] + "0") == 404

        # Then health needs no key
        assert await status(f"{server.url}/api/health") == 200


async def test_with_authentication_jobs_are_their_owners(tmp_path: Path) -> None:
    async with running(a_house(tmp_path, automatic=True, keys=KEYS)) as server:
        with pytest.raises(InvalidStatus) as refused:
            async with server.talk("same name"):
                pass
        assert refused.value.response.status_code in (401, 403)

        async with server.talk("same name", headers=bearing("anna's")) as anna:
            await anna.say(create_job())
            job_id = (await anna.hear_until("completed"))[0]["job_id"]

        async with server.talk("same name", headers=bearing("ben's")) as ben:
            for kind in ("get_status", "cancel_job"):
                answer = await ben.ask({"type": kind, "job_id": job_id, "request_id": "r"})
                assert answer == {"type": "error", "message": "Job not found.", "request_id": "r"}
            assert (await ben.ask({"type": "get_client_jobs"}))["jobs"] == []

        async with server.talk(headers=bearing("boss's")) as boss:
            assert (await boss.ask({"type": "get_status", "job_id": job_id}))["status"] == "completed"


async def test_other_answers_over_http(tmp_path: Path) -> None:
    async with House(tmp_path).client(live(), alone=True) as client:
        for method, path, status, detail in (
            ("GET", "/api/nothing", 404, "Not found."),
            ("POST", "/api/health", 405, "Method not allowed."),
            ("GET", "/api/image/", 404, "Not found."),
            ("GET", "/api/ws", 404, "Connect to this path with a WebSocket."),
        ):
            answer = await client.request(method, path)
            assert (answer.status_code, answer.json()) == (status, {"detail": detail})
