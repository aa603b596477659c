"""Whether the files of a model are on this machine, and whole; looks at the disk only, never at the network."""

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import cast

from danqing.core.capabilities import Companion, ModelCard

# A model with more than this makes a picture on a CPU in many minutes, if it fits into memory at all.
LARGE_BYTES = 4 * 10**9
BUNDLED = "sample"
# Ends of the entries of model_index.json, as Python writes them, whose folders may have a config.json and no weights.
WITHOUT_WEIGHTS = ("Tokenizer']", "TokenizerFast']", "Processor']", "Scheduler']", "Extractor']")
CHECKPOINTS = Path(str(resources.files("danqing") / "engine" / "checkpoints"))  # that come with Danqing


def model_folder(card: ModelCard) -> Path | None:
    """Where the model's files are, or would be used from; None for a hub model that was never downloaded."""
    folder = Path(card.source)
    if folder.is_absolute():
        return folder if folder.is_dir() else None
    from huggingface_hub import try_to_load_from_cache  # takes a while to import

    found = try_to_load_from_cache(card.source, "model_index.json", revision=card.revision)
    return Path(found).parent if isinstance(found, str) else None


def missing_files(folder: Path) -> list[str]:
    """What a diffusers folder lacks, relative to it: component folders, weights, shards that an index file names."""
    index = _read_object(folder / "model_index.json")
    if index is None:
        return ["model_index.json"]
    components = {name: kind for name, kind in index.items() if not name.startswith("_") and kind != [None, None]}
    missing = [name for name in components if not any((folder / name).glob("*"))]
    for name, kind in components.items():
        network = (folder / name / "config.json").exists() and not str(kind).endswith(WITHOUT_WEIGHTS)
        if network and not any((folder / name).glob("*.safetensors*")):
            missing.append(f"{name}/*.safetensors")
    for shard_index in folder.glob("*/*.safetensors.index.json"):
        weight_map = (_read_object(shard_index) or {}).get("weight_map")
        shards = set(cast(dict[str, str], weight_map).values()) if isinstance(weight_map, dict) else set[str]()
        missing += [f"{shard_index.parent.name}/{s}" for s in sorted(shards) if not (shard_index.parent / s).exists()]
    return missing


def _read_object(path: Path) -> dict[str, object] | None:
    try:
        content: object = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return cast(dict[str, object], content) if isinstance(content, dict) else None


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """whole: the model could be loaded from this disk. text: that in words. size_bytes: of what is on the disk."""

    whole: bool
    text: str
    size_bytes: int = 0


def files_state(card: ModelCard) -> ModelFiles:
    """What of the model is on this disk. Blocking; imports the hub's library for a hub model."""
    folder = model_folder(card)
    if folder is None:
        return ModelFiles(whole=False, text="not there" if is_local(card) else "not downloaded")
    size_bytes = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    if missing := missing_files(folder):
        return ModelFiles(whole=False, text=f"incomplete: no {', '.join(missing)}", size_bytes=size_bytes)
    return ModelFiles(whole=True, text=f"on disk, {size_bytes / 1e6:,.0f} MB", size_bytes=size_bytes)


def missing_companions(card: ModelCard) -> tuple[Companion, ...]:
    """Those of the model's companions that are not whole on this disk. Blocking."""
    return tuple(companion for companion in card.companions if not companion_state(companion).whole)


def companion_state(companion: Companion) -> ModelFiles:
    """What of the companion is on this disk. Blocking; imports the hub's library for one on the hub."""
    local = is_local(companion)
    if companion.file is not None:
        found = _existing(companion, companion.file)
    else:  # a network's folder, or that of a whole pipeline, of which the transformer is taken
        found = _existing(companion, "config.json") or _existing(companion, "transformer/config.json")
    if found is None:
        return ModelFiles(whole=False, text="not there" if local else "not downloaded")
    files = [found] if companion.file is not None else [file for file in found.parent.iterdir() if file.is_file()]
    size_bytes = sum(file.stat().st_size for file in files)
    if not any(file.suffix == ".safetensors" for file in files):
        return ModelFiles(whole=False, text="incomplete: no weights", size_bytes=size_bytes)
    return ModelFiles(whole=True, text=f"on disk, {size_bytes / 1e6:,.0f} MB", size_bytes=size_bytes)


def _existing(companion: Companion, filename: str) -> Path | None:
    if is_local(companion):
        file = Path(companion.source, filename)
        return file if file.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(companion.source, filename, revision=companion.revision)
    return Path(found) if isinstance(found, str) else None


def is_local(weights: ModelCard | Companion) -> bool:
    """True for a folder, which a start cannot complete; a hub model is downloaded."""
    return Path(weights.source).is_absolute()


def is_bundled(card: ModelCard) -> bool:
    """True for a model whose files come with Danqing."""
    return is_local(card) and Path(card.source).is_relative_to(CHECKPOINTS)


def obstacles(card: ModelCard, files: ModelFiles, *, on_gpu: bool, memory_bytes: int | None) -> tuple[str, ...]:
    """Why the model is unlikely to be served here, for people; empty if nothing is in the way.

    on_gpu: some worker has a GPU. memory_bytes: of the device that has most of it; None where that is not known, or
    where not all of the model need be there at once.
    """
    to_download = not files.whole and not is_local(card)
    found = () if files.whole else (f"the model is {files.text}{' (a start downloads it)' if to_download else ''}",)
    if not on_gpu and (to_download or files.size_bytes > LARGE_BYTES):
        found += ("there is no GPU for it",)
    if card.memory_bytes is not None and memory_bytes is not None and card.memory_bytes > memory_bytes:
        takes = f"it takes about {card.memory_bytes / 1e9:.1f} GB of memory"
        less = "ENABLE_CPU_OFFLOAD=true or a DANQING_PRECISION takes less"
        found += (f"{takes} where no device has more than {memory_bytes / 1e9:.1f} GB ({less})",)
    return found


def way_out(card: ModelCard) -> str:
    """What to do about obstacles, for people."""
    if is_bundled(card):
        return "get the whole source tree or package again: the model belongs to it"
    return f"MODEL_NAME={BUNDLED} serves the bundled one"
