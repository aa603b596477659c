"""PyTorch's attention as one operation, beside diffusers' own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from diffusers.models import attention_dispatch
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline

from danqing.engine import one_op_attention
from danqing.engine.catalogue import Catalogue
from danqing.engine.device import choose_device
from danqing.engine.families import loading
from danqing.engine.families.adapter import AdapterOptions
from danqing.engine.one_op_attention import CUDNN, NATIVE
from danqing.engine.prompt_cache import PromptCache

dispatch = cast(Any, attention_dispatch).dispatch_attention_fn


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    yield
    one_op_attention.forget()


def given(device: str = "cpu", dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(5)
    return [torch.randn((2, tokens, 4, 64), generator=random).to(device, dtype) for tokens in (21, 17, 17)]


MASK = torch.arange(17) < torch.tensor([[17], [9]])


@pytest.mark.parametrize(
    "named",
    [{}, {"scale": 0.3}, {"attn_mask": MASK}, {"attn_mask": MASK[:, None, None]}, {"is_causal": True}],
    ids=lambda named: ", ".join(named) or "plain",
)
def test_it_is_what_diffusers_makes(named: dict[str, Any]) -> None:
    theirs = dispatch(*given(), backend=NATIVE, **named)
    one_op_attention.register()
    one_op_attention.register()  # once is enough
    ours = dispatch(*given(), backend=NATIVE, **named)
    torch.testing.assert_close(ours, theirs)
    one_op_attention.forget()
    assert "danqing" not in str(type(cast(Any, attention_dispatch)._AttentionBackendRegistry._backends[NATIVE]))


def test_a_compiler_sees_one_operation() -> None:
    one_op_attention.register()
    seen: list[str] = []

    def backend(graph: Any, _inputs: object) -> Any:  # noqa: ANN401
        seen.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return dispatch(query, key, value, backend=NATIVE)

    expected = dispatch(*given(), backend=NATIVE)
    compiled = torch.compile(attend, backend=backend, fullgraph=True)
    torch.testing.assert_close(compiled(*given()), expected)
    assert [name for name in seen if "attention" in name] == ["danqing.attention.default"]
    torch.compiler.reset()


def test_what_compilers_are_told_of_it_is_so() -> None:
    query, key, value = given()
    torch.library.opcheck(one_op_attention.attended, (query, key, value, None, False), test_utils="test_faketensor")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("backend", [NATIVE, CUDNN])
def test_it_is_so_on_a_gpu(backend: Any) -> None:  # noqa: ANN401
    theirs = dispatch(*given("cuda", torch.bfloat16), backend=backend)
    one_op_attention.register()
    ours = dispatch(*given("cuda", torch.bfloat16), backend=backend)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("compiled", [True, False])
def test_kernels_are_measured_as_they_are_called_later(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    # Given a model that is loaded to be compiled, or as it is
    registered: list[bool] = []

    def measured(*_: object) -> None:
        kernel = cast(Any, attention_dispatch)._AttentionBackendRegistry._backends[CUDNN]
        registered.append("danqing" in str(type(kernel)))

    monkeypatch.setattr(loading, "set_kernel", measured)
    monkeypatch.setattr(loading, "compile_blocks", lambda transformer: None)
    options = AdapterOptions(
        device=choose_device("cpu", "float32"),
        cpu_offload=False,
        attention=None,
        prompts=PromptCache(max_bytes=0),
        compile=compiled,
    )
    loading.load_pipeline(ZImagePipeline, Catalogue(str(tiny_folder)).default(), options)
    # Then attention is one operation already where it will be when its kernel is chosen
    assert registered == [compiled]
