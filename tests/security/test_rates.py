"""Who asks for too much is told so by every dialect, in its own words, and when to come back."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets

from danqing.config import Settings
from danqing.core.admission import Admission
from danqing.core.clock import utc_now
from danqing.core.keeping import KeptBytes
from danqing.core.quotas import LocalDayCounts, Quota, Quotas
from danqing.core.rate_limits import RateLimit, RateRule
from danqing.http.server import Stop
from danqing.wiring.keeping import RATE_ON_A_NETWORK, keeping_of, rate_rule
from tests.security.walking import a_good_request, a_house, an_app
from tests.unit.core.test_quotas import Kept
from tests.unit.http.serving import serving

SUBMITS = {
    "/api/generate": "请求过于频繁，请稍后重试",
    "/v1/images/generate": "Too much was asked for in a short time; try again later",
    "/generate": "请求过于频繁: Too much was asked for in a short time; try again later.",
    "/generate/img2img": "请求过于频繁: Too much was asked for in a short time; try again later.",
    "/v1/images/generations": '"code":"rate_limit_exceeded"',
    "/v1/images/edits": '"code":"rate_limit_exceeded"',
    "/v1/images/variations": '"code":"rate_limit_exceeded"',
}


def limited() -> Admission:
    """One picture, and then nothing for half a minute."""
    return Admission(rates=RateLimit(RateRule(per_minute=2, burst=1), now=lambda: 0.0))


def used_up() -> Admission:
    """One picture a day."""
    kept = Kept()
    quota = Quota(jobs_per_day=1)
    sizes = KeptBytes(kept, None)  # type: ignore[arg-type]
    return Admission(quotas=Quotas(quota, days=LocalDayCounts(kept=kept, now=utc_now), sizes=sizes, now=utc_now))


async def asked_twice(root: Path, path: str, admission: Admission) -> httpx2.Response:
    """The second answer."""
    house = a_house(root, admission=admission)
    transport = httpx2.ASGITransport(app=an_app(house))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        good: dict[str, Any] = a_good_request("POST", path)
        first = await client.post(path, **good)
        assert first.status_code == 200, first.text
        return await client.post(path, **_another(good))


def _another(options: dict[str, Any]) -> dict[str, Any]:
    """Equal requests would be one."""
    kind = "json" if "json" in options else "data"
    return options | {kind: options[kind] | {"prompt": "another", "seed": 7}}


@pytest.mark.parametrize("path", list(SUBMITS))
async def test_rates(tmp_path: Path, path: str) -> None:
    answer = await asked_twice(tmp_path, path, limited())

    assert answer.status_code == 429, answer.text
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    assert SUBMITS[path] in answer.text
    assert answer.headers.get("x-should-retry") is None


@pytest.mark.parametrize("path", list(SUBMITS))
async def test_quotas(tmp_path: Path, path: str) -> None:
    answer = await asked_twice(tmp_path, path, used_up())

    assert answer.status_code == 429, answer.text
    assert 86_000 < int(answer.headers["retry-after"]) <= 86_400
    if path in ("/v1/images/generations", "/v1/images/edits"):
        assert '"code":"insufficient_quota"' in answer.text
        assert answer.headers["x-should-retry"] == "false"


async def test_over_the_websocket(tmp_path: Path) -> None:
    house, stop = a_house(tmp_path, admission=limited()), Stop()
    create = {"type": "create_job", "task_type": "text_to_image", "request_id": "second"}
    async with serving(an_app(house), stop=stop) as ((listener,), _):
        async with websockets.connect(listener.url.replace("http", "ws") + "/api/ws") as client:
            for prompt in ("one", "two"):
                params = {"prompt": prompt, "width": 64, "height": 64, "steps": 1}
                await client.send(json.dumps(create | {"params": params}))
            while (told := json.loads(await client.recv()))["type"] != "error":
                pass
        stop.request()

    assert told["request_id"] == "second"
    assert told["message"] == "Too much was asked for in a short time; try again later."


def test_the_limit_is_for_networks() -> None:
    def rule(**said: Any) -> RateRule | None:  # noqa: ANN401 - settings
        return rate_rule(Settings(**said))

    assert rule() is None and rule(host="localhost") is None and rule(host="::1") is None
    assert rule(host="0.0.0.0") == RateRule(per_minute=RATE_ON_A_NETWORK, burst=5 * RATE_ON_A_NETWORK)
    assert rule(host="0.0.0.0", rate_limit=0) is None
    assert rule(rate_limit=60) == RateRule(per_minute=60, burst=300)
    assert rule(rate_limit=60, rate_burst=7) == RateRule(per_minute=60, burst=7)


@pytest.mark.parametrize(
    ("settings", "told_apart"), [({}, False), ({"api_key": "k"}, True), ({"enable_auth": True}, False)]
)
def test_callers_are_told_apart_where_keys_are_listed(settings: dict[str, Any], told_apart: bool) -> None:
    keeping = keeping_of(Settings(**settings), kept=Kept(), artifacts=None)  # type: ignore[arg-type]

    assert keeping.admission._per_owner is told_apart
    assert keeping.janitor._retention.is_endless


def test_what_is_kept_is_what_was_set() -> None:
    settings = Settings(retention_days=1.5, retention_gb=0.5)
    retention = keeping_of(settings, kept=Kept(), artifacts=None).janitor._retention  # type: ignore[arg-type]

    assert (retention.max_age, retention.max_bytes) == (timedelta(hours=36), 500_000_000)
