"""Whether models are compiled: as somebody wants it, else where that pays and can be done."""

import dataclasses
import importlib
import importlib.util
import shutil
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest
import structlog.testing
import torch

from danqing.core.capabilities import ModelCard, Precision
from danqing.core.errors import ModelLoadFailure, OutOfMemory
from danqing.core.types import ModelStatus
from danqing.engine import compiler, resident_model
from danqing.engine.catalogue import Catalogue
from danqing.engine.compiler import LEAST_BYTES, is_compiled
from danqing.engine.device import Device, choose_device
from danqing.engine.families.adapter import AdapterOptions, FamilyAdapter, ModelMemory, Order, Unwatched
from danqing.engine.families.z_image.model import z_image_adapter
from danqing.engine.prompt_cache import PromptCache
from danqing.engine.resident_model import ResidentModel
from danqing.engine.spec import Compile
from tests.contracts.engine import request_for

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


@pytest.mark.parametrize("weights_bytes", [LEAST_BYTES, MEMORY - LEAST_BYTES, None])
def test_large_models_on_a_gpu_are(weights_bytes: int | None) -> None:
    assert is_compiled("auto", GPU, weights_bytes=weights_bytes, by_sdnq=lambda: False, cpu_offload=False)


@pytest.mark.parametrize(
    ("device", "otherwise"),
    [
        (CPU, {}),
        (GROUP, {}),
        (GPU, {"weights_bytes": LEAST_BYTES - 1}),
        (GPU, {"cpu_offload": True}),
        (GPU, {"by_sdnq": lambda: True}),
    ],
    ids=["on a CPU", "on several GPUs", "small", "offloaded", "by SDNQ"],
)
def test_others_are_not(device: Device, otherwise: dict[str, Any]) -> None:
    assert not is_compiled("auto", device, **LARGE | otherwise)


@pytest.mark.parametrize(
    "missing",
    [
        "memory for all of the model",
        "a GPU of compute capability 8.0",
        "the package triton",
        "a C compiler",
        "Python's C headers",
    ],
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
    size = MEMORY if "memory" in missing else LEAST_BYTES
    with structlog.testing.capture_logs() as logs:
        assert not is_compiled("auto", GPU, weights_bytes=size, by_sdnq=lambda: False, cpu_offload=False)
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
    wanted: Compile
    for wanted in ("auto", True, False):
        with pytest.raises(Stop):
            ResidentModel(card, gpu_options(), compile=wanted, adapter=adapter).load()
    # Then it is compiled as it should be
    assert seen == [expected, True, False]


class Adapter:
    """Of a family that fails at what it is told to fail at."""

    def __init__(self, fails: Mapping[bool, Exception], options: AdapterOptions, tried: list[str]) -> None:
        """fails: by whether it is compiled."""
        self._fails, self._compiled, self._tried = fails, options.compile, tried

    def load(self) -> None:
        self._tried.append("compiled" if self._compiled else "plain")
        if self._compiled in self._fails:
            raise self._fails[self._compiled]

    def unload(self) -> None:
        self._tried.append("unloaded")

    def status(self) -> ModelStatus:
        return dataclasses.replace(STATUS, compiled=self._compiled)

    def memory(self) -> ModelMemory:
        return ModelMemory(total=1, held=1, running=1, leanest=None)


@pytest.fixture
def large(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModelCard:
    """A model that is compiled by itself."""
    monkeypatch.setattr(compiler, "LEAST_BYTES", 1)
    monkeypatch.setattr(Device, "free_unused_memory", lambda _: None)
    return Catalogue(str(tiny_folder)).default()


BROKEN = RuntimeError("ptxas: nothing works")
TOO_LITTLE = torch.OutOfMemoryError("CUDA out of memory")
DAMAGED = ModelLoadFailure("its folder is damaged")


@pytest.mark.parametrize(
    ("wanted", "fails", "expected", "tried"),
    [
        ("auto", {}, None, ["compiled"]),
        ("auto", {True: BROKEN}, None, ["compiled", "unloaded", "plain"]),
        (True, {True: BROKEN}, ModelLoadFailure, ["compiled", "unloaded"]),
        ("auto", {True: BROKEN, False: BROKEN}, ModelLoadFailure, ["compiled", "unloaded", "plain", "unloaded"]),
        ("auto", {True: TOO_LITTLE}, OutOfMemory, ["compiled", "unloaded"]),
        ("auto", {True: DAMAGED}, ModelLoadFailure, ["compiled", "unloaded"]),
    ],
)
def test_a_model_that_fails_compiled_is_loaded_without_if_nobody_asked_for_that(
    large: ModelCard,
    wanted: Compile,
    fails: Mapping[bool, Exception],
    expected: type[Exception] | None,
    tried: list[str],
) -> None:
    seen: list[str] = []

    def adapter(_: ModelCard, options: AdapterOptions) -> FamilyAdapter:
        return cast(Any, Adapter(fails, options, seen))

    model = ResidentModel(large, gpu_options(), compile=wanted, adapter=adapter)
    with structlog.testing.capture_logs() as logs, pytest.raises(expected) if expected else nullcontext():
        model.load()
    assert seen == tried
    assert ("loading_compiled_failed_trying_without" in {line["event"] for line in logs}) == ("plain" in tried)
    if expected is None:
        assert (status := model.status()) is not None
        assert status.compiled == (tried[-1] == "compiled")
    # What fails to compile later is no reason to fail, where that was this house's choice and went well
    assert goes_on_after_errors() == (tried == ["compiled"])


def test_a_compiler_that_does_not_work_is_found_out_as_the_model_loads(
    large: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a compiler that fails at everything, and a device that is taken for a GPU
    def backend(*_: object) -> object:
        raise RuntimeError("ptxas: nothing works")

    of_modules: Callable[..., None] = torch.nn.Module.compile
    of_functions: Callable[..., Any] = torch.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: of_modules(self, backend=backend))
    monkeypatch.setattr(torch, "compile", lambda function, **_: of_functions(function, backend=backend))
    monkeypatch.setattr(resident_model, "is_compiled", lambda *_, **__: True)
    options = dataclasses.replace(gpu_options(), device=CPU)
    model = ResidentModel(large, options, compile="auto", adapter=z_image_adapter)
    # When the model is loaded, then it makes pictures, and says how
    with structlog.testing.capture_logs() as logs:
        model.load()
    assert [line["compiled"] for line in logs if line["event"] == "model_loaded"] == [False]
    order = Order(request=request_for(large, num_inference_steps=1))
    (made,) = model.adapter.make([order], (64, 64), watchers=[Unwatched()], spare_memory=False)
    assert made is not None
    torch.compiler.reset()


@pytest.mark.parametrize(("named", "found"), [("clang-19", True), ("tcc", False)])
def test_the_c_compiler_may_be_named(monkeypatch: pytest.MonkeyPatch, named: str, found: bool) -> None:
    monkeypatch.setenv("CC", named)
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "clang-19" else None)
    assert is_compiled("auto", GPU, **LARGE) == found
