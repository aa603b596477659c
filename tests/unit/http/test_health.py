"""`/health`, `/livez` and `/readyz` on the shared port."""

from pathlib import Path

import pytest

from danqing.core.types import PoolStatus, WorkerState
from tests.dialects.house import House
from tests.unit.http.made_up import a_dialect, ask


async def test_health_holds_the_fields_of_every_dialect(tmp_path: Path) -> None:
    red = a_dialect("red", "/red", health={"code": 200, "data": {"a": 1}})
    blue = a_dialect("blue", "/blue", health={"status": "ok"})

    answer = await ask(tmp_path, "GET", "/health", red, blue, a_dialect("grey", "/grey"))

    assert answer.status_code == 200
    assert answer.json() == {"code": 200, "data": {"a": 1}, "status": "ok"}


async def test_no_dialect_speaks_for_another(tmp_path: Path) -> None:
    # Given two dialects that have a word in common and mean different things by it
    red = a_dialect("red", "/red", health={"status": "ok", "live": True})
    blue = a_dialect("blue", "/blue", health={"status": "healthy", "live": True})

    answer = await ask(tmp_path, "GET", "/health", red, blue)

    # Then nobody reads the other's, and the answer says so
    assert answer.status_code == 200
    assert answer.json() == {"live": True, "conflicts": {"status": {"red": "ok", "blue": "healthy"}}}


async def test_where_a_dialect_leads_its_word_is_told(tmp_path: Path) -> None:
    # Given two dialects that mean the same by different words, and a rule whose is told
    red = a_dialect("red", "/red", health={"status": "ok"})
    blue = a_dialect("blue", "/blue", health={"status": "healthy"}, leads=["status"])

    answer = await ask(tmp_path, "GET", "/health", red, blue)

    # Then the leader's is, and the answer goes on saying who says otherwise
    assert answer.json() == {"status": "healthy", "conflicts": {"status": {"red": "ok", "blue": "healthy"}}}
    # And each port of one dialect has its own
    assert (
        await ask(tmp_path, "GET", "/health", a_dialect("red", "/health", health={"status": "ok"}), alone=True)
    ).json() == {"status": "ok"}


async def test_a_led_field_is_described_as_its_leaders(tmp_path: Path) -> None:
    red = a_dialect("red", "/red", health={"status": 1})
    blue = a_dialect("blue", "/blue", health={"status": "healthy"}, leads=["status"])

    schema = (await ask(tmp_path, "GET", "/openapi.json", red, blue)).json()

    told = schema["components"]["schemas"]["JointHealth"]
    assert (told["properties"]["status"]["type"], told["required"]) == ("string", ["status"])


def test_two_leaders_of_one_field_are_a_mistake(tmp_path: Path) -> None:
    red = a_dialect("red", "/red", health={"status": "ok"}, leads=["status"])
    blue = a_dialect("blue", "/blue", health={"status": "healthy"}, leads=["status"])

    with pytest.raises(ValueError, match="red and blue both lead the field status"):
        House(tmp_path).app(red, blue)


async def test_the_joint_answer_is_described(tmp_path: Path) -> None:
    red = a_dialect("red", "/red", health={"code": 200, "status": "ok"})
    blue = a_dialect("blue", "/blue", health={"status": "healthy", "live": True})

    schema = (await ask(tmp_path, "GET", "/openapi.json", red, blue)).json()

    told = schema["components"]["schemas"]["JointHealth"]
    assert {name: field.get("type") for name, field in told["properties"].items()} == {
        "code": "integer",
        "status": None,
        "live": "boolean",
        "conflicts": "object",
    }
    assert told["required"] == ["code", "live"]


async def test_a_dialect_that_has_no_health_has_none_on_its_own_port(tmp_path: Path) -> None:
    answer = await ask(tmp_path, "GET", "/health", a_dialect("grey", "/grey"), alone=True)

    assert answer.json() == {"grey": "HTTPException"}


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (WorkerState.STARTING, 503),
        (WorkerState.READY, 200),
        (WorkerState.BUSY, 200),
        (WorkerState.RESTARTING, 503),
        (WorkerState.BROKEN, 503),
    ],
)
async def test_ready_means_that_a_worker_has_its_models(tmp_path: Path, state: WorkerState, status: int) -> None:
    house = House(tmp_path, state=state)

    ready = await ask(tmp_path, "GET", "/readyz", house=house)
    live = await ask(tmp_path, "GET", "/livez", house=house)

    assert (ready.status_code, ready.json()) == (status, {"ready": status == 200})
    assert ("retry-after" in ready.headers) == (status == 503)
    assert (live.status_code, live.json()) == (200, {"live": True})


async def test_a_draining_server_is_not_ready(tmp_path: Path) -> None:
    # Given a server with a loaded model that has been told to stop
    house = House(tmp_path, state=WorkerState.READY)
    house.studio.stop_accepting()

    # When a load balancer asks
    ready = await ask(tmp_path, "GET", "/readyz", house=house)

    # Then it is told to send its clients elsewhere
    assert (ready.status_code, ready.json()) == (503, {"ready": False})


async def test_a_server_whose_workers_are_elsewhere_is_ready_before_the_first_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an API process of an installation whose workers were scaled to zero
    house = House(tmp_path)
    monkeypatch.setattr(house.painter, "status", lambda: PoolStatus(elsewhere=True))

    ready = await ask(tmp_path, "GET", "/readyz", house=house)

    # Then a load balancer may send it the jobs that workers are started for
    assert (ready.status_code, ready.json()) == (200, {"ready": True})
