"""Whether the files of a model are on this machine, and whole; looks at the disk only, never at the network."""

import json
from pathlib import Path
from typing import cast

from danqing.core.capabilities import ModelCard


def model_folder(card: ModelCard) -> Path | None:
    """Where the model's files are, or would be used from; None for a hub model that was never downloaded."""
    folder = Path(card.source)
    if folder.is_absolute():
        return folder if folder.is_dir() else None
    from huggingface_hub import try_to_load_from_cache  # takes a while to import

    found = try_to_load_from_cache(card.source, "model_index.json", revision=card.revision)
    return Path(found).parent if isinstance(found, str) else None


def missing_files(folder: Path) -> list[str]:
    """What a diffusers folder lacks, relative to it: component folders, and the shards that an index file names."""
    index = _read_object(folder / "model_index.json")
    if index is None:
        return ["model_index.json"]
    components = [name for name, kind in index.items() if not name.startswith("_") and kind != [None, None]]
    missing = [name for name in components if not any((folder / name).glob("*"))]
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


def files_state(card: ModelCard) -> tuple[bool, str]:
    """Whether the model could be loaded from this disk, and that in words."""
    folder = model_folder(card)
    if folder is None:
        if Path(card.source).is_absolute():
            return False, "not there"
        return False, "not downloaded; the first start downloads it"
    if missing := missing_files(folder):
        return False, f"incomplete: no {', '.join(missing)}"
    size_bytes = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    return True, f"on disk, {size_bytes / 1e6:,.0f} MB"
