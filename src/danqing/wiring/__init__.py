"""Puts the parts together; the only package that knows every concrete class."""

from danqing.engine.upscale.choice import find_upscaler
from danqing.wiring.addresses import for_one_process
from danqing.wiring.apps import (
    build_apps,
    build_managed_app,
    build_starting_app,
    build_starting_apps,
    check_exposure,
    listeners,
)
from danqing.wiring.fleet import ask_to_drain, living_nodes, looking_celery_app
from danqing.wiring.hardware import build_catalogue, device_choice, known_models, lora_files, most_memory
from danqing.wiring.opening import open_node, open_runtime
from danqing.wiring.runtime import Runtime, log_style
from danqing.wiring.start_wait import StartWait

__all__ = [
    "Runtime",
    "StartWait",
    "ask_to_drain",
    "build_apps",
    "build_catalogue",
    "build_managed_app",
    "build_starting_app",
    "build_starting_apps",
    "check_exposure",
    "device_choice",
    "find_upscaler",
    "for_one_process",
    "known_models",
    "listeners",
    "living_nodes",
    "log_style",
    "looking_celery_app",
    "lora_files",
    "most_memory",
    "open_node",
    "open_runtime",
]
