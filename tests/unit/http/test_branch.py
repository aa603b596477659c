"""Which routes are looked through for a request."""

from pathlib import Path

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.testclient import TestClient
from starlette.types import Scope

from danqing.http.branch import Branch
from danqing.http.dialect import Dialect
from danqing.wiring.apps import DIALECTS
from tests.dialects.house import House

OF_THE_HOUSE = {"/health", "/tickets"}


class CountedRoute(APIRoute):
    """Knows how often it was looked at."""

    looks = 0

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        CountedRoute.looks += 1
        return super().matches(scope)


def an_app() -> TestClient:
    router = APIRouter(route_class=CountedRoute)
    router.add_api_route("/red/one", lambda: "red", methods=["GET"])
    app = FastAPI()
    app.router.routes.append(Branch(router, covers=lambda path: path.startswith("/red")))
    app.add_api_route("/blue", lambda: "blue")
    CountedRoute.looks = 0
    return TestClient(app)


def test_its_own_paths_are_answered() -> None:
    with an_app() as client:
        assert client.get("/red/one").json() == "red"
        assert client.post("/red/one").status_code == 405
        assert client.get("/red/two").status_code == 404


def test_its_routes_are_not_looked_at_for_other_paths() -> None:
    with an_app() as client:
        assert client.get("/blue").json() == "blue"
        assert client.get("/nothing").status_code == 404
        assert CountedRoute.looks == 0


@pytest.mark.parametrize("root", ["/img", "/red"])
def test_a_mounted_app_has_them_below_its_own_path(root: str) -> None:
    app = an_app().app
    with TestClient(app, root_path=root) as client:
        assert client.get(f"{root}/red/one").json() == "red"
        assert client.get(f"{root}/nothing").status_code == 404
    house = FastAPI()
    house.mount(root, app)
    with TestClient(house) as client:
        assert client.get(f"{root}/red/one").json() == "red"
        assert client.get("/red/one").status_code == 404


@pytest.mark.parametrize("dialect", [make() for make in DIALECTS.values()], ids=list(DIALECTS))
def test_every_route_of_a_dialect_lies_below_its_prefixes(tmp_path: Path, dialect: Dialect) -> None:
    paths = set(House(tmp_path).app(dialect, alone=True).openapi()["paths"]) - OF_THE_HOUSE

    assert paths
    assert [path for path in paths if not dialect.covers(path)] == []
