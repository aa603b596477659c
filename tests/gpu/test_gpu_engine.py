"""`bench/gpu_engine.py` runs whole where no GPU is: the same code, in shapes that a CPU makes at once."""

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

BENCH = Path(__file__).parents[2] / "bench" / "gpu_engine.py"
MODELS = ("z-image-turbo", "flux1-dev", "qwen-image-edit-2511")
EIGHT_BITS = "z-image-turbo"
STAGES = ("text", "denoise", "vae", "encode", "total")
pytestmark = pytest.mark.timeout(600)


def figures(tmp_path: Path, *options: str) -> dict[str, object]:
    out = tmp_path / "figures.json"
    command = [sys.executable, str(BENCH), "--tiny", "--rounds", "1", "--out", str(out), *options]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=580)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(out.read_text())


def settings(*names: str) -> list[str]:
    return [word for name in names for word in ("--setting", name)]


def number(made: dict[str, object], name: str) -> float:
    value = made[name]
    assert isinstance(value, int | float), name
    return value


def cases(made: dict[str, object], model: str) -> list[str]:
    """Those of this model, each with a size and a number of steps."""
    ending = "_plain_total_ms"
    found = [name.removesuffix(ending) for name in made if name.startswith(model) and name.endswith(ending)]
    assert found
    return found


def look_at_stages(made: dict[str, object], case: str, way: str) -> None:
    parts = {stage: number(made, f"{case}_{way}_{stage}_ms") for stage in STAGES}
    assert all(parts.values()), (case, way, parts)
    assert number(made, f"{case}_{way}_tflops") > 0
    # The stages are parts of the whole, and leave little of it out; between them a busy machine may stand still
    whole = parts.pop("total")
    assert whole * 0.2 < sum(parts.values()) <= whole * 1.01, (case, way, parts, whole)


def test_every_family_beside_plain_diffusers_stage_by_stage(tmp_path: Path) -> None:
    made = figures(tmp_path, "--part", "models", *settings("bf16", "fp8", "attention_cudnn"))
    for model in MODELS:
        for case in cases(made, model):
            look_at_stages(made, case, "plain")
            look_at_stages(made, case, "bf16")
            ratio = number(made, f"{case}_plain_total_ms") / number(made, f"{case}_bf16_total_ms")
            assert number(made, f"{case}_ratio") == pytest.approx(ratio, 0.01)
            assert number(made, f"{case}_bf16_times_plain") == number(made, f"{case}_ratio")
            assert made[f"{case}_best_setting"] == "bf16"
        # What cannot be here is said, not left to be guessed
        assert "needs an NVIDIA GPU" in str(made[f"{model}_fp8_left_out"])
        assert made[f"{model}_attention_cudnn_left_out"] == "there is no CUDA device"


@dataclass(frozen=True)
class Kept:
    """A run of every part, of one model, that adds to what an earlier run found, in which a part failed."""

    made: dict[str, object]
    record: dict[str, Any]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("kept")
    file = folder / "kept.json"
    before = {"device": "cpu", "of_another_part_ms": 1.5, "x4plus_left_out": "it failed: RuntimeError"}
    file.write_text(json.dumps({"seconds": 100, "flat": before}))
    parts = [word for part in ("models", "server", "upscaler") for word in ("--part", part)]
    made = figures(
        folder, *parts, "--model", EIGHT_BITS, *settings("bf16", "torchao_int8_compiled"), "--keep", str(file)
    )
    return Kept(made=made, record=json.loads(file.read_text()))


def test_eight_bits_are_seen_in_the_numbers_and_hardly_in_the_picture(kept: Kept) -> None:
    made = kept.made
    for case in cases(made, EIGHT_BITS):
        look_at_stages(made, case, "torchao_int8_compiled")
        assert 20 < number(made, f"{case}_torchao_int8_compiled_psnr_db") < 90
        best = min(number(made, f"{case}_{way}_total_ms") for way in ("bf16", "torchao_int8_compiled"))
        assert number(made, f"{case}_ratio") == pytest.approx(number(made, f"{case}_plain_total_ms") / best, 0.01)


def test_the_server_and_the_upscaler_are_added_to_what_is_kept(kept: Kept) -> None:
    made, record = kept.made, kept.record
    assert 0 < number(made, "served_bf16_engine_call_share") <= 1
    assert number(made, "served_bf16_alone_p50_ms") > 0
    assert number(made, "served_bf16_alone_p50_ms_goal_most") == 820
    assert number(made, "served_bf16_pictures_per_s") > 0
    assert number(made, "x4plus_32_eager_ms") > 0
    assert number(made, "x4plus_32_channels_last_ratio") > 0
    # Then both are there
    assert record["seconds"] > 100
    assert record["found"]["of_another_part_ms"] == 1.5
    assert record["found"]["x4plus_32_eager_ms"] == made["x4plus_32_eager_ms"]
    assert "x4plus_left_out" not in record["found"]


def test_of_another_device_nothing_is_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCH.parent)
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps({"seconds": 100, "flat": {"device": "NVIDIA H100", "of_another_part_ms": 1.5}}))
    import_module("gpu_kept").Kept(kept, device="cpu", shown=dict).add("one", {"one_ms": 2.0}, seconds=1)
    found = json.loads(kept.read_text())["found"]
    assert found["one_ms"] == 2.0
    assert "of_another_part_ms" not in found


def test_without_a_gpu_nothing_is_pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCH.parent)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert import_module("gpu_engine").measure() == {"left_out": "there is no CUDA device"}
