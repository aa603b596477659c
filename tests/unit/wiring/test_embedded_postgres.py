"""A server that makes its pictures itself, with its jobs in PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from danqing.config import Settings
from danqing.core.errors import DataDirectoryInUse
from danqing.core.orders import Order
from danqing.core.types import RequestDraft
from danqing.wiring import open_runtime
from danqing.workers.factory import EngineFactory
from tests.services.postgres import running_postgres
from tests.unit.store.postgres.asking import ask
from tests.zoo.engines import Zoo

ORDER = Order(draft=RequestDraft(prompt="a plain one", width=64, height=64, seed=1))


@pytest.fixture
def url() -> Iterator[str]:
    url = running_postgres().new_database()
    yield url
    running_postgres().drop_database(url)


async def test_it_is_as_with_a_file_and_alone_on_the_database(tmp_path: Path, url: str) -> None:
    engine = EngineFactory(target="tests.zoo.engines:build_zoo", argument=Zoo(folder=tmp_path))

    def settings(folder: str) -> Settings:
        return Settings.model_validate(
            {"data_dir": tmp_path / folder, "cuda_available": False, "database_url": url, "api_key": "k"}
        )

    # Given a server with its jobs in PostgreSQL, that has made a picture
    async with open_runtime(settings("one"), engine=engine) as runtime:
        await runtime.until_ready()
        done = await runtime.studio.wait((await runtime.studio.submit(ORDER)).id)
        assert done.original is not None
        assert ask(url, "SELECT id, state FROM jobs") == [(done.id, "completed")]
        signed = runtime.services.links.sign("/a.png")
        # Then no other one works on the database, wherever its data dir is
        with pytest.raises(DataDirectoryInUse, match="database"):
            async with open_runtime(settings("two"), engine=engine):
                pass
    # And its successor, on another machine, knows its jobs and its signatures, and makes what it left
    ask(url, "UPDATE jobs SET state = 'processing', finished_at = NULL")
    ask(url, "DELETE FROM artifacts")
    async with open_runtime(settings("two"), engine=engine) as again:
        assert again.services.links.opens("/a.png", dict(parse_qsl(urlsplit(signed).query)))
        await again.until_ready()
        remade = await again.studio.wait(done.id)
        assert len(remade.attempts) == 2
        assert remade.original is not None
