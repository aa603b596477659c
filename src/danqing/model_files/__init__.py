"""Which models are on this machine's disk, how they get there and how they go."""

from danqing.model_files.pull import Download, check_space, plan_downloads
from danqing.model_files.removal import Removal, plan_removal
from danqing.model_files.state import (
    ModelFiles,
    companion_state,
    files_state,
    is_bundled,
    is_local,
    missing_companions,
    missing_files,
    model_folder,
    obstacles,
    way_out,
)

__all__ = [
    "Download",
    "ModelFiles",
    "Removal",
    "check_space",
    "companion_state",
    "files_state",
    "is_bundled",
    "is_local",
    "missing_companions",
    "missing_files",
    "model_folder",
    "obstacles",
    "plan_downloads",
    "plan_removal",
    "way_out",
]
