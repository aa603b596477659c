"""Which LoRAs lie in the folder that the settings name, and for which models each is. Imports no torch."""

import os
from collections.abc import Mapping
from pathlib import Path

import structlog

SUFFIX = ".safetensors"
FOR_ALL = ""  # stands for the folder itself among its sub-folders

log = structlog.get_logger(__name__)


class LoraFiles:
    """A LoRA's name is that of its file without `.safetensors`.

    Files in the folder itself are for every model; those in a sub-folder are for the family, or the model, that it is
    named after. Of equal names the one for the model goes first, then the one for its family.

    What a client says is only ever looked up among the names that were read: no path is made of it.
    """

    def __init__(self, folder: Path | None) -> None:
        """folder: None for no LoRAs at all. Blocking: reads it."""
        self._folder = folder
        self._by_place: Mapping[str, Mapping[str, Path]] = {}
        self.read()

    def read(self) -> None:
        """Looks again. Blocking; callable from any thread."""
        if self._folder is None:
            return
        self._by_place = {
            FOR_ALL: _files(self._folder),
            **{entry.name: _files(Path(entry)) for entry in _entries(self._folder) if entry.is_dir()},
        }

    def names(self, *, family: str, model: str) -> tuple[str, ...]:
        """Of all that are for the model, sorted."""
        by_place = self._by_place
        return tuple(sorted({name for place in _places(family, model) for name in by_place.get(place, {})}))

    def find(self, name: str, *, family: str, model: str) -> Path | None:
        """The file of that name for the model; None if there was none when the folder was last read."""
        by_place = self._by_place
        found = (by_place.get(place, {}).get(name) for place in _places(family, model))
        return next((file for file in found if file is not None), None)


def _places(family: str, model: str) -> tuple[str, ...]:
    """Sub-folders, the first one going before the others."""
    return model, family, FOR_ALL


def _files(folder: Path) -> dict[str, Path]:
    """By name. A name that no text file or terminal shows as it is cannot be asked for."""
    files: dict[str, Path] = {}
    for entry in _entries(folder):
        name = entry.name.removesuffix(SUFFIX)
        if name == entry.name or not entry.is_file():
            continue
        if name and name.isprintable():
            files[name] = Path(entry)
        else:
            log.warning(
                "lora_left_out", folder=str(folder), reason="the file's name has characters that cannot be told"
            )
    return files


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as exc:
        log.warning("lora_folder_unreadable", folder=str(folder), reason=exc.strerror)
        return []
