"""The small files that say what a checkpoint on the Hugging Face hub is: from the local cache, else downloaded.

Weights are not its business. Imports no torch; imports the hub's library only when a hub id is looked up.
"""

from contextlib import suppress
from pathlib import Path

from danqing.core.errors import ModelLoadFailure

ANSWER_WITHIN_S = 5.0


class HubCheckpoint:
    """One repository, at the commit that the cache holds as `main`, else at the newest one. Blocking."""

    def __init__(self, repo_id: str) -> None:
        """repo_id: "organisation/name"."""
        self._repo_id = repo_id
        self._commit: str | None = None

    @property
    def commit(self) -> str | None:
        """Of all files that were fetched; None before the first."""
        return self._commit

    def fetch(self, filename: str) -> Path:
        """Where the file lies, in a folder laid out as the repository is.

        Raises ModelLoadFailure if the repository lacks it, or the hub shows no such repository or does not answer.
        """
        # Inside, because it takes a while to import.
        import httpx2
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
        )

        name = self._repo_id
        try:
            found = _find(name, filename, self._commit)
        except GatedRepoError as exc:
            raise ModelLoadFailure(f"{name} is gated: accept its terms on the hub and run `hf auth login`.") from exc
        except (RepositoryNotFoundError, HFValidationError) as exc:
            raise ModelLoadFailure(
                f"{name} is neither a known model nor a folder, and the hub shows no such model."
            ) from exc
        except (OSError, httpx2.HTTPError, EntryNotFoundError) as exc:
            if isinstance(exc, EntryNotFoundError) and not isinstance(exc, LocalEntryNotFoundError):
                raise ModelLoadFailure(f"{name} has no {filename}: it is no diffusers model.") from exc
            raise ModelLoadFailure(
                f"{name} is neither a known model nor a folder; it is not downloaded, and the hub cannot be reached."
            ) from exc
        # Cached files lie in …/snapshots/<commit>/<filename>; the next one must be of the same commit.
        folder = found.parents[filename.count("/")]
        self._commit = folder.name
        return found

    def fetch_if_possible(self, filename: str) -> None:
        """As `fetch`, but does nothing where that raises."""
        with suppress(ModelLoadFailure):
            self.fetch(filename)


def _find(repo_id: str, filename: str, commit: str | None) -> Path:
    """Raises what the hub's library raises, but at once where that would try again for half a minute."""
    from huggingface_hub import (
        get_hf_file_metadata,  # pyright: ignore[reportUnknownVariableType]
        hf_hub_download,  # pyright: ignore[reportUnknownVariableType]
        hf_hub_url,
        try_to_load_from_cache,
    )
    from huggingface_hub.errors import EntryNotFoundError

    cached = try_to_load_from_cache(repo_id, filename, revision=commit)
    if isinstance(cached, str):
        return Path(cached)
    if cached is not None:
        raise EntryNotFoundError  # the cache knows that the commit has no such file
    with suppress(EntryNotFoundError):  # the next line notes that in the cache
        get_hf_file_metadata(hf_hub_url(repo_id, filename, revision=commit), timeout=ANSWER_WITHIN_S)
    return Path(hf_hub_download(repo_id, filename, revision=commit, etag_timeout=ANSWER_WITHIN_S))
