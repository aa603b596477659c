"""Making a picture without a server, when the engine dies."""

import asyncio
from pathlib import Path

import pytest

from danqing.cli import own_engine
from danqing.cli.order import PictureOrder
from danqing.config import Settings
from danqing.core.errors import ModelLoadFailure
from danqing.wiring import open_runtime, rules
from danqing.workers.factory import EngineFactory
from tests.zoo.engines import Zoo
from tests.zoo.house import DEADLINE_S, FAST


@pytest.mark.parametrize("load", ["dies", "dies but once"])
async def test_an_engine_that_cannot_be_loaded_any_more_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: str
) -> None:
    # Given an engine that dies while it loads: always, or after a first process that the picture killed
    engine = EngineFactory(target="tests.zoo.engines:build_zoo", argument=Zoo(folder=tmp_path, load=load))
    monkeypatch.setattr(own_engine, "open_runtime", lambda settings: open_runtime(settings, engine=engine))
    monkeypatch.setattr(rules, "WorkerRules", lambda task_timeout_s: FAST)
    settings = Settings.model_validate({"cuda_available": False})
    order = PictureOrder(prompt="dies", width=64, height=64, num_inference_steps=None, seed=None)
    # When a picture is asked for, then the answer is that
    with pytest.raises(ModelLoadFailure, match="ended while loading the model"):
        await asyncio.wait_for(
            asyncio.to_thread(own_engine.make_here, order, settings, lambda *_: None), 2 * DEADLINE_S
        )
