"""Of a repository only what would be loaded is downloaded."""

import pytest

from danqing.model_files.wanted import files_of_companion, files_of_model

INDEX = {
    "_class_name": "FluxPipeline",
    "transformer": ["diffusers", "T"],
    "text_encoder": ["transformers", "E"],
    "tokenizer": ["transformers", "K"],
    "scheduler": ["diffusers", "S"],
    "image_encoder": [None, None],
}
WANTED = [
    "model_index.json",
    "danqing.json",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors.index.json",
    "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
    "transformer/diffusion_pytorch_model-00002-of-00002.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/spiece.model",
    "tokenizer/chat_template.jinja",
    "scheduler/scheduler_config.json",
]
UNWANTED = [
    "README.md",
    "LICENSE.md",
    "flux1-dev.safetensors",
    "ae.safetensors",
    "evil.py",
    "transformer/diffusion_pytorch_model.bin",
    "transformer/diffusion_pytorch_model.bin.index.json",
    "transformer/diffusion_pytorch_model.fp16.safetensors",
    "transformer/diffusion_pytorch_model.safetensors.index.fp16.json",
    "transformer/model.py",
    "transformer/old/config.json",
    "text_encoder/pytorch_model.bin",
    "text_encoder/flax_model.msgpack",
    "text_encoder/model.pt",
    "text_encoder/model.onnx",
    "image_encoder/model.safetensors",
    "safety_checker/model.safetensors",
]


def test_what_a_pipeline_loads_and_nothing_else() -> None:
    assert set(files_of_model([*UNWANTED, *WANTED], INDEX)) == set(WANTED)


def test_a_network_beside_the_models_own() -> None:
    further = ["controlnet/config.json", "controlnet/diffusion_pytorch_model.safetensors"]
    assert set(files_of_model([*UNWANTED, *WANTED, *further], INDEX, ["controlnet"])) == {*WANTED, *further}


@pytest.mark.parametrize(
    "weights", ["pytorch_model.bin", "model.fp16.safetensors", "model.gguf", "model-00001-of-00002.ckpt"]
)
def test_weights_of_other_kinds_are_no_model(weights: str) -> None:
    names = [name for name in WANTED if name != "text_encoder/model.safetensors"]
    with pytest.raises(ValueError, match="text_encoder/ has no weights as plain safetensors files"):
        files_of_model([*names, f"text_encoder/{weights}"], INDEX)


def test_a_missing_part() -> None:
    with pytest.raises(ValueError, match="tokenizer/ has no files"):
        files_of_model([name for name in WANTED if not name.startswith("tokenizer/")], INDEX)


def test_a_companion_is_a_file_or_a_network_or_the_transformer_of_a_pipeline() -> None:
    network = ["config.json", "diffusion_pytorch_model.safetensors", "README.md", "a.bin", "images/a.png"]
    assert files_of_companion([*network, "x/one.safetensors"], "x/one.safetensors") == ["x/one.safetensors"]
    assert files_of_companion(network, None) == ["config.json", "diffusion_pytorch_model.safetensors"]
    assert files_of_companion([*UNWANTED, *WANTED], None) == [n for n in WANTED if n.startswith("transformer/")]
    with pytest.raises(ValueError, match=r"there is no y\.safetensors"):
        files_of_companion(network, "y.safetensors")
