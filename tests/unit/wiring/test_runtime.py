"""The parts put together and running, and what a start that cannot be looks like."""

import asyncio
import math
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from danqing.config import Settings
from danqing.core.errors import DataDirectoryInUse, ModelLoadFailure, ShuttingDown, StorageFailure, TooManyJobs
from danqing.core.orders import Order
from danqing.core.types import RequestDraft
from danqing.store.history_parts import LEAF
from danqing.store.sqlite import SqliteStores
from danqing.wiring import open_runtime
from danqing.wiring.stores import DATABASE_NAME
from danqing.workers.factory import EngineFactory
from tests.fakes.domain import NO_LIMIT, a_job
from tests.unit.store.files import ask, tamper
from tests.zoo.engines import Zoo
from tests.zoo.house import until_progress

DEADLINE_S = 30.0


def settings(folder: Path, **others: object) -> Settings:
    return Settings.model_validate({"data_dir": folder / "data", "cuda_available": False} | others)


def zoo_engine(folder: Path, *, load: str = "fine") -> EngineFactory:
    return EngineFactory(target="tests.zoo.engines:build_zoo", argument=Zoo(folder=folder, load=load))


async def test_the_history_is_indexed_meanwhile(tmp_path: Path) -> None:
    # Given a file with a job of long ago, and one that came after many others
    here = settings(tmp_path)
    here.data_dir.mkdir()
    path = here.data_dir / DATABASE_NAME
    for _ in range(2):
        stores = SqliteStores.open(path)
        await stores.jobs.add(a_job(), NO_LIMIT)
        await stores.close()
        tamper(path, "UPDATE sqlite_sequence SET seq = ? WHERE name = 'jobs'", LEAF)
    # When a server has run on it for a while, then the older one is in the index
    async with open_runtime(here, engine=zoo_engine(tmp_path)):
        async with asyncio.timeout(DEADLINE_S):
            while ask(path, "SELECT first FROM history_parts WHERE state = 'whole'") != [(0,)]:  # noqa: ASYNC110 - it is another thread's doing
                await asyncio.sleep(0.05)


async def test_the_log_says_which_files_the_settings_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a working directory with zimage's variables
    file = tmp_path / "apps" / "api" / ".env"
    file.parent.mkdir(parents=True)
    file.write_text("API_ADMIN_KEY=boss\n")
    monkeypatch.chdir(tmp_path)
    # When a server starts there
    with capture_logs() as lines:
        async with open_runtime(settings(tmp_path), engine=zoo_engine(tmp_path)):
            pass
    # Then its settings are told with their file
    (line,) = [line for line in lines if line["event"] == "settings"]
    assert line["env_files"] == [str(file)]


async def test_pictures_can_be_asked_for_once_a_worker_is_ready_and_not_after_stopping(tmp_path: Path) -> None:
    async with open_runtime(settings(tmp_path), engine=zoo_engine(tmp_path)) as runtime:
        await runtime.until_ready()
        job = await runtime.studio.submit(Order(draft=RequestDraft(prompt="a plain one", width=64, height=64)))
        done = await runtime.studio.wait(job.id)
        assert done.original is not None
        assert Path(runtime.artifacts.location(done.original.name)).parent == tmp_path / "data" / "outputs"
        await runtime.drain()
        with pytest.raises(ShuttingDown):
            await runtime.studio.submit(Order(draft=RequestDraft(prompt="too late")))


async def test_who_has_enough_waiting_is_told_when_to_come_back_by_what_jobs_have_taken(tmp_path: Path) -> None:
    # Given a server where an owner may have one job waiting, and that has made one
    engine = zoo_engine(tmp_path)
    async with open_runtime(settings(tmp_path, max_queue_per_owner=1), engine=engine) as runtime:
        await runtime.until_ready()

        def order(prompt: str) -> Order:
            return Order(draft=RequestDraft(prompt=prompt, width=64, height=64))

        done = await runtime.studio.wait((await runtime.studio.submit(order("a tea pot"))).id)
        assert done.started_at is not None
        assert done.finished_at is not None
        # When one runs, and one waits
        running = await runtime.studio.submit(order("hangs"))
        await until_progress(runtime.studio, running.id)
        await runtime.studio.submit(order("a tea pot"))
        with pytest.raises(TooManyJobs) as refused:
            await runtime.studio.submit(order("a tea pot"))
        # Then the next one may come when one more is likely to be done
        assert refused.value.retry_after_s == max(1, math.ceil((done.finished_at - done.started_at).total_seconds()))


async def test_a_model_that_no_worker_can_load_is_told(tmp_path: Path) -> None:
    async with open_runtime(settings(tmp_path), engine=zoo_engine(tmp_path, load="fails")) as runtime:
        with pytest.raises(ModelLoadFailure, match="The model's files are missing"):
            await runtime.until_ready()


async def test_the_data_dir_is_for_one_at_a_time_and_free_afterwards(tmp_path: Path) -> None:
    here, engine = settings(tmp_path), zoo_engine(tmp_path)
    async with open_runtime(here, engine=engine):
        with pytest.raises(DataDirectoryInUse):
            async with open_runtime(here, engine=engine):
                pass
    async with open_runtime(here, engine=engine) as again:
        assert again.devices == ("cpu",)


async def test_a_data_dir_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(StorageFailure, match="data cannot be made"):
        async with open_runtime(settings(tmp_path), engine=zoo_engine(tmp_path)):
            pass


@pytest.mark.parametrize("place", ["a-file", "a-file/below"])
async def test_no_job_is_accepted_whose_picture_has_no_place(tmp_path: Path, place: str) -> None:
    (tmp_path / "a-file").touch()
    with pytest.raises(StorageFailure, match=f"output directory .*{place} cannot be made"):
        async with open_runtime(settings(tmp_path, output_dir=tmp_path / place), engine=zoo_engine(tmp_path)):
            pass


async def test_fingerprints_and_addresses_are_keyed_only_where_keys_are_needed(tmp_path: Path) -> None:
    # Given a server that asks for keys, started twice
    keyed = settings(tmp_path, api_key="k")
    draft = RequestDraft(prompt="a plain one", width=64, height=64, seed=1)
    marks: list[str] = []
    for _ in range(2):
        async with open_runtime(keyed, engine=zoo_engine(tmp_path)) as runtime:
            await runtime.until_ready()
            job = await runtime.studio.submit(Order(draft=draft))
            marks.append(job.fingerprint)
            # Then its addresses are signed
            assert "signature=" in runtime.services.links.sign("/a.png")
    # And an equal request is known again after a restart
    assert marks[0] == marks[1]
    async with open_runtime(settings(tmp_path), engine=zoo_engine(tmp_path)) as runtime:
        assert runtime.services.links.sign("/a.png") == "/a.png"
        await runtime.until_ready()
        assert (await runtime.studio.submit(Order(draft=draft))).fingerprint != marks[0]
