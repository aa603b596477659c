"""The parts put together: which listeners and workers the settings give, and what a start that cannot be looks like."""

from pathlib import Path

import pytest

from danqing import wiring
from danqing.config import DialectPort, InvalidSettings, Settings
from danqing.core.errors import DataDirectoryInUse, ModelLoadFailure, ShuttingDown, StorageFailure
from danqing.core.types import RequestDraft
from danqing.devices import Gpu
from danqing.http.listeners import Listener
from danqing.wiring import device_choice, listeners, open_runtime
from danqing.workers.factory import EngineFactory
from tests.zoo.engines import Zoo


def settings(folder: Path, **others: object) -> Settings:
    return Settings.model_validate({"data_dir": folder / "data", "cuda_available": False} | others)


def zoo_engine(folder: Path, *, load: str = "fine") -> EngineFactory:
    return EngineFactory(target="tests.zoo.engines:build_zoo", argument=Zoo(folder=folder, load=load))


def test_the_shared_port_comes_first_then_one_for_each_dialect_named(tmp_path: Path) -> None:
    here = settings(tmp_path, host="0.0.0.0", listen=(DialectPort(dialect="turbo", port=5000),))
    shared, turbo = listeners(here)
    assert shared == Listener(host="0.0.0.0", port=8000, dialect=None)
    assert turbo == Listener(host="0.0.0.0", port=5000, dialect="turbo")


def test_a_dialect_that_nobody_speaks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="klingon is not a dialect"):
        listeners(settings(tmp_path, listen=(DialectPort(dialect="klingon", port=1),)))


def test_every_gpu_that_cuda_shows_gets_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given three GPUs, of which CUDA shows two
    monkeypatch.setattr(wiring, "installed_gpus", lambda: (Gpu(name="H100", memory_total_bytes=None),) * 3)
    monkeypatch.setattr(wiring, "torch_has_cuda", lambda: True)
    monkeypatch.setattr(wiring, "cuda_visible_devices", lambda: "0,2")
    assert device_choice(settings(tmp_path, cuda_available=True)).devices == ("cuda:0", "cuda:1")
    assert device_choice(settings(tmp_path)).devices == ("cpu",)
    with pytest.raises(InvalidSettings, match="GPU_DEVICE_ID is 2, but the GPUs here are 0 to 1"):
        device_choice(settings(tmp_path, cuda_available=True, gpu_device_id=2))


async def test_pictures_can_be_asked_for_once_a_worker_is_ready_and_not_after_stopping(tmp_path: Path) -> None:
    async with open_runtime(settings(tmp_path), engine=zoo_engine(tmp_path)) as runtime:
        await runtime.until_ready()
        job = await runtime.studio.submit(RequestDraft(prompt="a plain one", width=64, height=64))
        done = await runtime.studio.wait(job.id)
        assert done.original is not None
        assert runtime.artifacts.path(done.original.name).parent == tmp_path / "data" / "outputs"
        await runtime.drain()
        with pytest.raises(ShuttingDown):
            await runtime.studio.submit(RequestDraft(prompt="too late"))


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
