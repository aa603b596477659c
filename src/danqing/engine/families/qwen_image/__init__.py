"""Qwen-Image and its edit models: diffusers' `QwenImagePipeline`, `QwenImageEdit…` and `QwenImageEditPlusPipeline`."""
