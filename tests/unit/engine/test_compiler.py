"""Whether models are compiled: as somebody wants it, else where that pays and can be done."""

import dataclasses
import importlib
import importlib.util
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import structlog.testing
import torch

from danqing.core.capabilities import ModelCard, Precision
from danqing.core.errors import ModelLoadFailure
from danqing.core.types import ModelStatus
from danqing.engine import compiler
from danqing.engine.catalogue import Catalogue
from danqing.engine.compiler import LEAST_BYTES, is_compiled
from danqing.engine.device import Device, choose_device
from danqing.engine.families.adapter import AdapterOptions, FamilyAdapter, ModelMemory
from danqing.engine.prompt_cache import PromptCache
from danqing.engine.resident_model import ResidentModel
from danqing.engine.spec import Compile

CPU = choose_device("cpu", "auto")
GPU = Device(torch_device=torch.device("cuda", 0), dtype=torch.bfloat16, name="x")
GROUP = Device(torch_device=torch.device("cuda", 0), dtype=torch.bfloat16, name="x", others=(torch.device("cuda", 1),))
STATUS = ModelStatus(
    id="x",
    placement="whole",
    precision="native",
    dtype="bfloat16",
    attention="native",
    compiled=False,
    vae="contiguous",
    step_cache=False,
)
MEMORY = 10 * LEAST_BYTES
LARGE: dict[str, Any] = {"weights_bytes": LEAST_BYTES, "by_sdnq": lambda: False, "cpu_offload": False}


@pytest.fixture(autouse=True)
def all_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Of what a compiler needs."""
    config: Any = importlib.import_module("torch._dynamo.config")
    before = config.suppress_errors
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (MEMORY, MEMORY))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "gcc" else None)
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    yield
    config.suppress_errors = before


def goes_on_after_errors() -> bool:
    config: Any = importlib.import_module("torch._dynamo.config")
    return config.suppress_errors


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize("wanted", [True, False])
def test_who_says_so_gets_it(device: Device, wanted: bool) -> None:
    assert is_compiled(wanted, device, **LARGE) == wanted
    assert not goes_on_after_errors()


@pytest.mark.parametrize("weights_bytes", [LEAST_BYTES, MEMORY - LEAST_BYTES, None])
def test_large_models_on_a_gpu_are(weights_bytes: int | None) -> None:
    assert is_compiled("auto", GPU, weights_bytes=weights_bytes, by_sdnq=lambda: False, cpu_offload=False)
    assert goes_on_after_errors()


@pytest.mark.parametrize(
    ("device", "otherwise"),
    [
        (CPU, {}),
        (GROUP, {}),
        (GPU, {"weights_bytes": LEAST_BYTES - 1}),
        (GPU, {"weights_bytes": MEMORY - LEAST_BYTES + 1}),
        (GPU, {"cpu_offload": True}),
        (GPU, {"by_sdnq": lambda: True}),
    ],
    ids=["on a CPU", "on several GPUs", "small", "too large", "offloaded", "by SDNQ"],
)
def test_others_are_not(device: Device, otherwise: dict[str, Any]) -> None:
    assert not is_compiled("auto", device, **LARGE | otherwise)
    assert not goes_on_after_errors()


@pytest.mark.parametrize(
    "missing", ["a GPU of compute capability 8.0", "the package triton", "a C compiler", "Python's C headers"]
)
def test_what_is_missing_for_it_is_told(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    if "GPU" in missing:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    if "triton" in missing:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    if "C compiler" in missing:
        monkeypatch.setattr(shutil, "which", lambda _: None)
    if "headers" in missing:
        monkeypatch.setattr(sysconfig, "get_path", lambda _: "/nowhere")
    with structlog.testing.capture_logs() as logs:
        assert not is_compiled("auto", GPU, **LARGE)
    assert [(line["event"], line["missing"]) for line in logs] == [("not_compiled", missing)]


def gpu_options() -> AdapterOptions:
    return AdapterOptions(
        device=GPU, compile=False, cpu_offload=False, attention=None, prompts=PromptCache(max_bytes=0)
    )


class Stop(Exception):
    """Enough is seen."""


@pytest.mark.parametrize(
    ("least_bytes", "precision", "expected"),
    [(1, "native", True), (1, "sdnq-int8", False), (10**9, "native", False)],
    ids=["large", "large by SDNQ", "small"],
)
def test_a_model_goes_by_its_own_size_and_precision(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, least_bytes: int, precision: Precision, expected: bool
) -> None:
    # Given a model of some megabytes on a GPU
    monkeypatch.setattr(compiler, "LEAST_BYTES", least_bytes)
    card = dataclasses.replace(Catalogue(str(tiny_folder)).default(), precision=precision)
    seen: list[bool] = []

    def adapter(_: ModelCard, given: AdapterOptions) -> FamilyAdapter:
        seen.append(given.compile)
        raise Stop

    # When it is loaded
    for wanted in ("auto", True, False):
        with pytest.raises(Stop):
            ResidentModel(card, gpu_options(), compile=wanted, adapter=adapter).load()
    # Then it is compiled as it should be
    assert seen == [expected, True, False]


@pytest.mark.parametrize("wanted", ["auto", True])
def test_a_model_that_fails_compiled_is_loaded_without_if_nobody_asked_for_that(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, wanted: Compile
) -> None:
    monkeypatch.setattr(compiler, "LEAST_BYTES", 1)
    monkeypatch.setattr(Device, "free_unused_memory", lambda _: None)
    card, tried = Catalogue(str(tiny_folder)).default(), list[str]()

    class Adapter:
        """Of a family whose blocks break the compiler."""

        def __init__(self, _: ModelCard, options: AdapterOptions) -> None:
            self._compiled = options.compile

        def load(self) -> None:
            tried.append("compiled" if self._compiled else "plain")
            if self._compiled:
                raise RuntimeError("ptxas: nothing works")

        def unload(self) -> None:
            tried.append("unloaded")

        def status(self) -> ModelStatus:
            return dataclasses.replace(STATUS, compiled=self._compiled)

        def memory(self) -> ModelMemory:
            return ModelMemory(total=1, held=1, running=1, leanest=None)

    model = ResidentModel(card, gpu_options(), compile=wanted, adapter=cast(Any, Adapter))
    if wanted != "auto":
        with pytest.raises(ModelLoadFailure):
            model.load()
        assert tried == ["compiled", "unloaded"]
        return
    with structlog.testing.capture_logs() as logs:
        model.load()
    assert tried == ["compiled", "unloaded", "plain"]
    assert "loading_compiled_failed_trying_without" in [line["event"] for line in logs]
    assert (status := model.status()) is not None
    assert not status.compiled


@pytest.mark.parametrize(("named", "found"), [("clang-19", True), ("tcc", False)])
def test_the_c_compiler_may_be_named(monkeypatch: pytest.MonkeyPatch, named: str, found: bool) -> None:
    monkeypatch.setenv("CC", named)
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "clang-19" else None)
    assert is_compiled("auto", GPU, **LARGE) == found
