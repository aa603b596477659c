"""Which database is opened, by what is set; and what is said where it cannot be."""

import builtins
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from danqing.config import InvalidSettings, Settings
from danqing.core.errors import DataDirectoryInUse, StorageFailure
from danqing.store.postgres_database import PostgresDatabase
from danqing.store.sqlite_database import SqliteDatabase
from danqing.wiring.stores import DATABASE_NAME, Stores, open_stores
from tests.fakes.domain import NO_LIMIT, a_job
from tests.services.postgres import running_postgres


@pytest.fixture
def url() -> Iterator[str]:
    url = running_postgres().new_database()
    yield url
    running_postgres().drop_database(url)


def settings_of(folder: Path, url: str | None = None) -> Settings:
    return Settings.model_validate({"data_dir": folder, "database_url": url})


async def can_store(stores: Stores) -> bool:
    job = await stores.jobs.add(a_job(), NO_LIMIT)
    (batch,) = await stores.batches.batches(None, limit=9, offset=0)
    return batch.jobs == (job,) == tuple(await stores.jobs.unfinished())


async def test_without_an_address_the_jobs_are_in_the_data_dir(tmp_path: Path) -> None:
    kinds: list[type] = []
    settings = settings_of(tmp_path)
    async with open_stores(settings, alone=True, around=lambda one: kinds.append(type(one)) or one) as stores:
        assert await can_store(stores)
        assert stores.shared is None
        secret = await stores.secret()
        assert secret == await stores.secret()
    assert kinds == [SqliteDatabase]
    assert (tmp_path / DATABASE_NAME).is_file()
    with pytest.raises(StorageFailure):
        await stores.jobs.get("any")


async def test_with_an_address_they_are_in_postgresql(tmp_path: Path, url: str) -> None:
    kinds: list[type] = []
    settings = settings_of(tmp_path, url)
    async with (
        open_stores(settings, alone=False, around=lambda one: kinds.append(type(one)) or one) as stores,
        open_stores(settings, alone=False) as others,
    ):
        assert await can_store(stores)
        assert await stores.secret() == await others.secret()
        assert stores.shared is not None
        assert await stores.shared.nodes.alive() == []
        assert (await stores.shared.line.waiting())["tiny"].jobs == 1
        async with stores.shared.exclusive("x") as is_in:
            assert is_in
    assert kinds == [PostgresDatabase]
    assert os.listdir(tmp_path) == []
    with pytest.raises(StorageFailure):
        await stores.jobs.get("any")


async def test_a_server_that_makes_its_pictures_itself_is_alone(tmp_path: Path, url: str) -> None:
    settings = settings_of(tmp_path, url)
    async with open_stores(settings, alone=True):
        for alone in (True, False):
            with pytest.raises(DataDirectoryInUse):
                async with open_stores(settings, alone=alone):
                    pass
    async with open_stores(settings, alone=True) as stores:
        assert await can_store(stores)


@pytest.mark.parametrize("url", ["mysql://u:hidden@h/db", "hidden"])
async def test_an_address_of_something_else_is_refused_and_not_told(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidSettings, match="DATABASE_URL") as refused:
        async with open_stores(settings_of(tmp_path, url), alone=True):
            pass
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:1/danqing", "nobody listens there"),
        ("no-such-host.invalid/danqing", "no such host"),
        ("127.0.0.1:1/danqing?nonsense=1", "it cannot be used (ProgrammingError)"),
    ],
)
async def test_a_database_that_is_not_there_is_told_as_such(tmp_path: Path, address: str, reason: str) -> None:
    settings = settings_of(tmp_path, f"postgresql://danqing:hidden@{address}")
    with pytest.raises(StorageFailure) as told:
        async with open_stores(settings, alone=False):
            pass
    assert str(told.value) == f"The PostgreSQL of DATABASE_URL: {reason}."


async def test_a_driver_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_psycopg(name: str, *rest: object) -> object:
        if name.partition(".")[0] == "psycopg":
            raise ModuleNotFoundError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_psycopg)
    with pytest.raises(InvalidSettings, match=r"'\.\[scaled\]"):
        async with open_stores(settings_of(tmp_path, "postgresql://h/db"), alone=True):
            pass
