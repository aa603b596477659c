"""How much memory a checkpoint's weights will take, by what its files say of themselves. Imports no torch."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from danqing.core.capabilities import ModelCard
from danqing.engine.hub import cached_commit

FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # bytes of each; a model is loaded in one number format
MOST_HEADER_BYTES = 100_000_000  # as safetensors itself has it


def expected_bytes(card: ModelCard, *, float_bytes: int) -> int | None:
    """What the card's weights take, without companions; None where nothing says it. Blocking, short.

    float_bytes: of a number in memory; files may hold others. What is quantised while it loads is smaller in the end.
    """
    if card.precision != "native" and card.memory_bytes is not None:
        return card.memory_bytes
    folder = _folder(card)
    try:
        sizes = [_loaded_bytes(file, float_bytes) for file in _weights(folder)] if folder else []
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # who loads them says what is wrong with them
        sizes = []
    return sum(sizes) or card.memory_bytes


def _folder(card: ModelCard) -> Path | None:
    source = Path(card.source)
    if source.is_absolute():
        return source
    if cached_commit(card.source, card.revision) is None:
        return None
    from huggingface_hub import try_to_load_from_cache  # takes a while to import

    found = try_to_load_from_cache(card.source, "model_index.json", revision=card.revision)
    return Path(found).parent if isinstance(found, str) else None


def _weights(folder: Path) -> Iterator[Path]:
    """Of the parts that the pipeline has; not of variants, whose names have a dot more."""
    index = cast(dict[str, object], json.loads((folder / "model_index.json").read_bytes()))
    for part in index:
        if not part.startswith("_"):
            yield from (file for file in (folder / part).glob("*.safetensors") if "." not in file.stem)


def _loaded_bytes(file: Path, float_bytes: int) -> int:
    """The header of a safetensors file: its length in 8 bytes, then JSON."""
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        if length > MOST_HEADER_BYTES:
            raise ValueError("no safetensors file")
        header: dict[str, dict[str, object]] = json.loads(content.read(length))
    total = 0
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        begin, end = cast(tuple[int, int], tensor["data_offsets"])
        stored = FLOATS.get(str(tensor["dtype"]))
        total += (end - begin) if stored is None else (end - begin) // stored * float_bytes
    return total
