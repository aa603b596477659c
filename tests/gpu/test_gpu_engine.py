"""`bench/gpu_engine.py` runs whole where no GPU is: the same code, in shapes that a CPU makes at once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "gpu_engine.py"
MODELS = ("z-image-turbo", "flux1-dev", "qwen-image-edit-2511")
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


def test_every_family_beside_plain_diffusers_stage_by_stage(tmp_path: Path) -> None:
    made = figures(tmp_path, "--part", "models", *settings("bf16", "torchao_int8_compiled", "fp8", "attention_cudnn"))
    for model in MODELS:
        cases = {name.removesuffix("_plain_total_ms") for name in made if name.endswith("_plain_total_ms")}
        of_model = [case for case in cases if case.startswith(model)]
        assert of_model
        for case in of_model:
            for way in ("plain", "bf16", "torchao_int8_compiled"):
                parts = {stage: number(made, f"{case}_{way}_{stage}_ms") for stage in STAGES}
                assert all(parts.values()), (case, way, parts)
                assert number(made, f"{case}_{way}_tflops") > 0
            # The stages are parts of the whole, and leave little of it out
            whole = parts.pop("total")
            assert whole * 0.5 < sum(parts.values()) <= whole * 1.01, (case, parts, whole)
            # Eight bits are seen in the numbers, hardly in the picture
            assert 20 < number(made, f"{case}_torchao_int8_compiled_psnr_db") < 90
            best = min(number(made, f"{case}_{way}_total_ms") for way in ("bf16", "torchao_int8_compiled"))
            assert number(made, f"{case}_ratio") == pytest.approx(number(made, f"{case}_plain_total_ms") / best, 0.01)
        # What cannot be here is said, not left to be guessed
        assert "needs an NVIDIA GPU" in str(made[f"{model}_fp8_left_out"])
        assert made[f"{model}_attention_cudnn_left_out"] == "there is no CUDA device"


def test_the_server_and_the_upscaler(tmp_path: Path) -> None:
    made = figures(tmp_path, "--part", "server", "--part", "upscaler", "--model", "z-image-turbo")
    assert 0 < number(made, "served_engine_busy_share") <= 1
    assert number(made, "served_alone_p50_ms") > 0
    assert number(made, "served_pictures_per_s") > 0
    assert number(made, "x4plus_32_eager_ms") > 0
    assert number(made, "x4plus_32_channels_last_ratio") > 0


def test_without_a_gpu_nothing_is_pretended(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH)]
    ran = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env={"CUDA_VISIBLE_DEVICES": ""}
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert json.loads(ran.stdout[ran.stdout.index("{") :]) == {"left_out": "there is no CUDA device"}
