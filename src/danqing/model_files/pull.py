"""Downloads models from the Hugging Face hub into its cache, where the engine finds them. Blocking.

What is whole in the cache is kept, so a download that broke off goes on with the file at which it was; a connection
that breaks is taken up within the file.
"""

import glob
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from danqing.core.capabilities import Companion, ModelCard
from danqing.core.errors import ModelLoadFailure
from danqing.engine.hub import HubCheckpoint, hub_errors
from danqing.model_files.state import is_local, model_folder
from danqing.model_files.wanted import INDEX, files_of_companion, files_of_model

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

ANSWER_WITHIN_S = 15.0
SPARE_BYTES = 10**9  # of the disk, that a download leaves free
FILES_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class Download:
    """What is to be downloaded of one repository. revision: as asked for; commit: what it is now.

    missing_bytes: of size_bytes, that are not on this disk yet. licence: as the hub tells it, if it does.
    """

    repo_id: str
    revision: str | None
    commit: str
    files: tuple[str, ...]
    size_bytes: int
    missing_bytes: int
    licence: str | None

    def fetch(self, *, bars: bool = False) -> Path:
        """Downloads and answers the folder. bars: the hub library's, on standard error; without, none in this process.

        Raises ModelLoadFailure.
        """
        from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]
        from huggingface_hub.utils.tqdm import disable_progress_bars

        if not bars:
            disable_progress_bars()
        with _errors(self.repo_id):
            return Path(
                snapshot_download(
                    self.repo_id,
                    revision=self.revision,
                    allow_patterns=[glob.escape(name) for name in self.files],
                    max_workers=FILES_AT_ONCE,
                )
            )


def plan_downloads(card: ModelCard, companions: Sequence[Companion]) -> tuple[Download, ...]:
    """Of the model and of those companions, as far as they are on the hub; asks it. Raises ModelLoadFailure."""
    return tuple(_plan(weights) for weights in (card, *companions) if not is_local(weights))


def check_space(downloads: Sequence[Download]) -> None:
    """Raises ModelLoadFailure if the disk of the hub's cache has no room for all that is missing."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE).expanduser().absolute()
    place = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    needed, free = sum(each.missing_bytes for each in downloads), shutil.disk_usage(place).free
    if needed and needed + SPARE_BYTES > free:
        raise ModelLoadFailure(
            f"{needed / 1e9:.1f} GB are to be downloaded, and {place} has {free / 1e9:.1f} GB free, of which "
            f"{SPARE_BYTES / 1e9:.0f} GB are left free. HF_HOME names another place."
        )


def _errors(repo_id: str) -> AbstractContextManager[None]:
    return hub_errors(repo_id, absent=f"{repo_id}:", away=f"{repo_id} is not downloaded, or not all of it:")


def _plan(weights: ModelCard | Companion) -> Download:
    from huggingface_hub import HfApi

    repo_id, revision = weights.source, weights.revision
    with _errors(repo_id):
        info = HfApi().model_info(repo_id, revision=revision, files_metadata=True, timeout=ANSWER_WITHIN_S)
    commit, siblings = info.sha or "", info.siblings or []
    files = {sibling.rfilename: sibling for sibling in siblings}
    try:
        if isinstance(weights, Companion):
            wanted = files_of_companion(files, weights.file)
        else:
            wanted = files_of_model(files, _index(repo_id, commit), _inside(weights))
    except ValueError as exc:
        raise ModelLoadFailure(f"{repo_id} cannot be used: {exc}.") from exc
    sizes = {name: files[name].size or 0 for name in wanted}
    licence: object = info.card_data.get("license") if info.card_data else None
    return Download(
        repo_id=repo_id,
        revision=revision,
        commit=commit,
        files=tuple(wanted),
        size_bytes=sum(sizes.values()),
        missing_bytes=sum(size for name, size in sizes.items() if not _has(repo_id, files[name])),
        licence=licence if isinstance(licence, str) else None,
    )


def _index(repo_id: str, commit: str) -> Mapping[str, object]:
    path = HubCheckpoint(repo_id, commit).fetch(INDEX)
    try:
        index: object = json.loads(path.read_bytes())
    except ValueError as exc:
        raise ModelLoadFailure(f"{repo_id} has no readable {INDEX}.") from exc
    return cast(dict[str, object], index) if isinstance(index, dict) else {}


def _inside(card: ModelCard) -> list[str]:
    """Folders of companions that are in the model's own repository."""
    folder = model_folder(card)
    sources = [Path(companion.source) for companion in card.companions]
    return [path.relative_to(folder).as_posix() for path in sources if folder and path.is_relative_to(folder)]


def _has(repo_id: str, file: "RepoSibling") -> bool:
    """Whether the cache holds the file's content, under whatever commit."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    name = file.lfs.sha256 if file.lfs else file.blob_id
    folder = Path(constants.HF_HUB_CACHE).expanduser() / repo_folder_name(repo_id=repo_id, repo_type="model") / "blobs"
    return name is not None and (folder / name).exists()
