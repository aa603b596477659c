"""Which files of a repository are downloaded: what Danqing loads, and nothing twice. Pure.

Weights are safetensors only: never pickles (`.bin`, `.pt`, `.ckpt`), other formats, code, or single files and
variants (`.fp16.`) beside the weights that a pipeline loads.
"""

import re
from collections.abc import Iterable, Mapping

INDEX = "model_index.json"
OWN_DESCRIPTION = "danqing.json"
NETWORK = "transformer"  # what a companion is in the folder of a whole pipeline
_TEXTS = (".json", ".txt", ".jinja", ".model")  # configurations, tokenizers; .model is SentencePiece's
_PLAIN_WEIGHTS = re.compile(r"[^.]+\.safetensors")
_OTHER_WEIGHTS = re.compile(r".*\.(safetensors|bin|pt|pth|ckpt|msgpack|h5|onnx|gguf)")
_OTHER_INDEX = re.compile(r".*\.(bin\.index(\..+)?|safetensors\.index\..+)\.json")


def files_of_model(names: Iterable[str], index: Mapping[str, object], further: Iterable[str] = ()) -> list[str]:
    """names: all of the repository. index: its model_index.json. further: folders of networks beside the model's.

    Raises ValueError, saying what is missing.
    """
    parts = [name for name, kind in index.items() if not name.startswith("_") and kind != [None, None]]
    names = list(names)
    wanted = [name for name in (INDEX, OWN_DESCRIPTION) if name in names]
    for part in (*parts, *further):
        wanted += _of_folder(names, f"{part}/")
    return wanted


def files_of_companion(names: Iterable[str], file: str | None) -> list[str]:
    """file: as in `Companion`. Raises ValueError, saying what is missing."""
    names = list(names)
    if file is not None:
        if file not in names:
            raise ValueError(f"there is no {file}")
        return [file]
    return _of_folder(names, f"{NETWORK}/" if INDEX in names else "")


def _of_folder(names: Iterable[str], folder: str) -> list[str]:
    here = [name.removeprefix(folder) for name in names if name.startswith(folder)]
    here = [name for name in here if "/" not in name]
    weights = [name for name in here if _PLAIN_WEIGHTS.fullmatch(name)]
    if not weights and any(_OTHER_WEIGHTS.fullmatch(name) for name in here):
        raise ValueError(f"{folder or 'it'} has no weights as plain safetensors files")
    texts = [name for name in here if name.endswith(_TEXTS) and not _OTHER_INDEX.fullmatch(name)]
    if not weights and not texts:
        raise ValueError(f"{folder or 'it'} has no files that Danqing could load")
    return [f"{folder}{name}" for name in (*texts, *weights)]
