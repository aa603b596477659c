"""Puts the parts together; the only package that knows every concrete class."""

from danqing.wiring.apps import build_app_of, build_apps, check_exposure, listeners
from danqing.wiring.hardware import build_catalogue, device_choice
from danqing.wiring.runtime import Runtime, log_style, open_runtime

__all__ = [
    "Runtime",
    "build_app_of",
    "build_apps",
    "build_catalogue",
    "check_exposure",
    "device_choice",
    "listeners",
    "log_style",
    "open_runtime",
]
