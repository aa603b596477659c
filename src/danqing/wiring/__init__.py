"""Puts the parts together; the only package that knows every concrete class."""

from danqing.engine.upscale.choice import find_upscaler
from danqing.wiring.apps import build_apps, build_managed_app, check_exposure, listeners
from danqing.wiring.hardware import build_catalogue, device_choice, known_models, lora_files, most_memory
from danqing.wiring.runtime import Runtime, log_style, open_runtime

__all__ = [
    "Runtime",
    "build_apps",
    "build_catalogue",
    "build_managed_app",
    "check_exposure",
    "device_choice",
    "find_upscaler",
    "known_models",
    "listeners",
    "log_style",
    "lora_files",
    "most_memory",
    "open_runtime",
]
