"""Which attention kernel is taken: by hand, or the quickest that computes the right thing. A CPU stands for the GPU."""

import dataclasses
from collections.abc import Callable

import pytest
import structlog.testing
import torch
from torch import Tensor

from danqing.core.errors import ModelLoadFailure
from danqing.engine.attention import NATIVE, AttentionChoice, AttentionShape, _run
from danqing.engine.device import Device, choose_device
from danqing.engine.spec import Attention

SHAPE = AttentionShape(tokens=24, heads=2, head_size=8)
HOPPER, AMPERE, TURING = (9, 0), (8, 0), (7, 5)
ALL = ("_flash_3", "flash", "_native_cudnn")


class PretendedGpu(Device):
    @property
    def is_cuda(self) -> bool:
        return True


GPU = PretendedGpu(torch_device=torch.device("cpu"), dtype=torch.bfloat16, name="x")


class Bench:
    """Kernels that take so many milliseconds each. wrong: what some make instead of the right thing."""

    def __init__(self, milliseconds: dict[str, float], **wrong: Callable[[Tensor], Tensor]) -> None:
        self.milliseconds = milliseconds
        self.wrong = wrong
        self.now = 0.0
        self.shapes: set[tuple[int, ...]] = set()
        self.calls = 0

    def run(self, kernel: str, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        self.calls += 1
        self.shapes |= {tuple(each.shape) for each in (query, key, value)}
        self.now += self.milliseconds[kernel] / 1000
        right = _run(NATIVE, query, key, value)
        return self.wrong[kernel](right) if kernel in self.wrong else right

    def choice(
        self, wanted: Attention = "auto", *, device: Device = GPU, installed: tuple[str, ...] = ALL
    ) -> AttentionChoice:
        return AttentionChoice(
            device, wanted, is_usable=lambda kernel: kernel in installed, run=self.run, clock=lambda: self.now
        )


@pytest.fixture(autouse=True)
def capability(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    of = getattr(request, "param", HOPPER)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: of)


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        ({"_flash_3": 1, "flash": 2, "_native_cudnn": 3, "native": 4}, "_flash_3"),
        ({"_flash_3": 2, "flash": 1, "_native_cudnn": 3, "native": 4}, "flash"),
        ({"_flash_3": 4, "flash": 3, "_native_cudnn": 2, "native": 1}, "native"),
        ({"_flash_3": 4, "flash": 3, "_native_cudnn": 1, "native": 1.04}, "_native_cudnn"),
        # Where two hardly differ it is the same one at every start
        ({"_flash_3": 1.04, "flash": 3, "_native_cudnn": 1, "native": 2}, "_flash_3"),
        ({"_flash_3": 1.06, "flash": 3, "_native_cudnn": 1, "native": 2}, "_native_cudnn"),
    ],
    ids=str,
)
def test_the_quickest_is_taken(milliseconds: dict[str, float], expected: str) -> None:
    bench = Bench(milliseconds)
    with structlog.testing.capture_logs() as logs:
        assert bench.choice().kernel_for(SHAPE) == expected
    # measured on the model's own shape, tried on an odd one as well, and told
    assert bench.shapes == {(1, 24, 2, 8), (2, 37, 2, 8)}
    (told,) = (line for line in logs if line["event"] == "attention_measured")
    assert told["chosen"] == expected
    assert told["milliseconds"] == pytest.approx(milliseconds)


def test_each_shape_is_measured_once() -> None:
    bench = Bench({"_native_cudnn": 1, "native": 2})
    choice = bench.choice(installed=("_native_cudnn",))
    choice.kernel_for(SHAPE)
    before = bench.calls
    assert choice.kernel_for(SHAPE) == "_native_cudnn"
    assert bench.calls == before
    bench.milliseconds["native"] = 0.5
    assert choice.kernel_for(dataclasses.replace(SHAPE, tokens=8)) == "native"


@pytest.mark.parametrize("capability", [AMPERE], indirect=True)
def test_flash_attention_3_is_for_hopper() -> None:
    bench = Bench({"_flash_3": 1, "flash": 2, "_native_cudnn": 3, "native": 4})
    assert bench.choice().kernel_for(SHAPE) == "flash"


@pytest.mark.parametrize("capability", [TURING], indirect=True)
def test_on_an_old_gpu_nothing_is_measured() -> None:
    bench = Bench({})
    assert bench.choice().kernel_for(SHAPE) == "native"
    assert bench.calls == 0


@pytest.mark.parametrize(
    "device",
    [choose_device("cpu", "float32"), dataclasses.replace(GPU, dtype=torch.float32)],
    ids=["on a cpu", "on a gpu"],
)
def test_in_float32_nothing_is_measured(device: Device) -> None:
    bench = Bench({})
    assert bench.choice(device=device).kernel_for(SHAPE) == "native"
    assert bench.calls == 0


def test_for_compiled_models_on_a_cpu_nothing_is_measured() -> None:
    choice = AttentionChoice(choose_device("cpu", "bfloat16"), "auto", compiled=True)
    with structlog.testing.capture_logs() as logs:
        assert choice.kernel_for(SHAPE) == "native"
    assert logs == []


@pytest.mark.parametrize(("milliseconds", "expected"), [(1, "_native_math"), (3, "native")])
def test_on_a_cpu_in_half_precision_it_is_the_quickest_of_two(milliseconds: float, expected: str) -> None:
    bench = Bench({"_native_math": milliseconds, "native": 2})
    choice = bench.choice(device=choose_device("cpu", "bfloat16"))
    with structlog.testing.capture_logs() as logs:
        assert choice.kernel_for(SHAPE) == choice.kernel_for(dataclasses.replace(SHAPE, tokens=4096)) == expected
    assert [line["tokens"] for line in logs if line["event"] == "attention_measured"] == [512]
    # Measured, once, on as many tokens as show the difference and take no time
    assert bench.shapes == {(1, 512, 2, 8), (2, 37, 2, 8)}
    assert bench.calls < 20


def refuses(_: Tensor) -> Tensor:
    raise RuntimeError("no kernel image is available for execution on the device")


@pytest.mark.parametrize(
    "wrong",
    [refuses, torch.zeros_like, lambda right: right * float("nan"), lambda right: right * 1.05, lambda right: right.mT],
    ids=["raises", "nothing", "no numbers", "a bit too much", "another shape"],
)
def test_what_is_not_right_is_not_taken_however_quick(wrong: Callable[[Tensor], Tensor]) -> None:
    bench = Bench({"flash": 0.1, "_native_cudnn": 1, "native": 2}, flash=wrong)
    with structlog.testing.capture_logs() as logs:
        assert bench.choice(installed=("flash", "_native_cudnn")).kernel_for(SHAPE) == "_native_cudnn"
    assert [line["kernel"] for line in logs if line["event"] == "attention_left_out"] == ["flash"]


def test_one_that_knows_the_usual_number_of_tokens_only_is_not_taken() -> None:
    def sixteens(right: Tensor) -> Tensor:
        return right if right.shape[1] % 8 == 0 else refuses(right)

    bench = Bench({"flash": 1, "native": 2}, flash=sixteens)
    assert bench.choice(installed=("flash",)).kernel_for(SHAPE) == "native"


def test_rounding_is_not_wrong() -> None:
    bench = Bench({"flash": 1, "native": 2}, flash=lambda right: right + 0.004 * right.abs().mean())
    assert bench.choice(installed=("flash",)).kernel_for(SHAPE) == "flash"


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")]
)
def test_without_memory_to_measure_it_is_pytorchs_own(error: Exception) -> None:
    def no_memory(_: Tensor) -> Tensor:
        raise error

    bench = Bench({"flash": 1, "native": 2}, flash=no_memory)
    with structlog.testing.capture_logs() as logs:
        assert bench.choice(installed=("flash",)).kernel_for(SHAPE) == "native"
    assert [line["event"] for line in logs] == ["no_memory_to_measure_attention"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("native", "native"), ("cudnn", "_native_cudnn"), ("flash", "flash"), ("flash3", "_flash_3")],
)
def test_a_choice_by_hand_is_kept(wanted: Attention, expected: str) -> None:
    bench = Bench({})
    assert bench.choice(wanted).kernel_for(SHAPE) == expected
    assert bench.calls == 0


@pytest.mark.parametrize(
    ("wanted", "needs"), [("flash", "flash_attn of version 2.6.3"), ("flash3", "flash_attn_interface")]
)
def test_what_is_chosen_by_hand_and_is_not_here_is_named(wanted: Attention, needs: str) -> None:
    with pytest.raises(ModelLoadFailure, match=f"Attention {wanted} needs {needs}"):
        Bench({}).choice(wanted, installed=()).kernel_for(SHAPE)


def test_a_choice_for_the_other_kind_of_device_does_no_harm() -> None:
    cpu = choose_device("cpu", "auto")
    with structlog.testing.capture_logs() as logs:
        assert Bench({}).choice("flash3", device=cpu).kernel_for(SHAPE) == "native"
        assert Bench({}).choice("matmul").kernel_for(SHAPE) == "native"
        assert Bench({}).choice("native", device=cpu).kernel_for(SHAPE) == "native"
        assert AttentionChoice(cpu, "matmul").kernel_for(SHAPE) == "_native_math"
    assert [(line["event"], line["attention"]) for line in logs] == [
        ("attention_has_no_effect", "flash3"),
        ("attention_has_no_effect", "matmul"),
    ]


def test_what_is_really_installed_here_is_found_out() -> None:
    # Neither package is among the project's, and this machine's PyTorch may have been built without cuDNN
    choice = AttentionChoice(GPU, "auto")
    candidates = choice._candidates()
    assert candidates[-1] == NATIVE
    assert ("_native_cudnn" in candidates) == torch.backends.cudnn.is_available()


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 1, reason="needs a CUDA device")
def test_on_a_gpu_one_is_chosen() -> None:
    device = choose_device("cuda", "bfloat16")
    assert AttentionChoice(device, "auto").kernel_for(AttentionShape(tokens=4096, heads=24, head_size=128))
