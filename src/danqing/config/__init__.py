"""Every setting and how it is read. No other module reads the environment."""

from danqing.config.loading import ENV_FILE, InvalidSettings, cuda_visible_devices, env_files, load_settings
from danqing.config.models_file import load_models_file
from danqing.config.settings import Settings, variable_of
from danqing.config.values import DialectPort, ModelAlias, Variable

__all__ = [
    "ENV_FILE",
    "DialectPort",
    "InvalidSettings",
    "ModelAlias",
    "Settings",
    "Variable",
    "cuda_visible_devices",
    "env_files",
    "load_models_file",
    "load_settings",
    "variable_of",
]
