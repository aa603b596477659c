"""What a checkpoint on the Hugging Face hub is: its small files, from the local cache or else downloaded, and errors.

Imports no torch; imports the hub's library only when a hub id is looked up.
"""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from danqing.core.errors import ModelLoadFailure

ANSWER_WITHIN_S = 5.0


class HubCheckpoint:
    """One repository, at the commit that the cache holds for its revision, else at the newest one. Blocking."""

    def __init__(self, repo_id: str, revision: str | None = None) -> None:
        """repo_id: "organisation/name". revision: a commit, branch or tag; None for `main`."""
        self._repo_id = repo_id
        self._revision = revision
        self._commit: str | None = None

    @property
    def commit(self) -> str | None:
        """Of all files that were fetched; None before the first."""
        return self._commit

    def fetch(self, filename: str) -> Path:
        """Where the file lies, in a folder laid out as the repository is.

        Raises ModelLoadFailure if the repository lacks it, or the hub shows no such repository or does not answer.
        """
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError  # takes a while to import

        name = self._repo_id
        unknown = f"{name} is neither a known model nor a folder"
        with hub_errors(name, absent=f"{unknown}, and", away=f"{unknown}; it is not downloaded, and"):
            try:
                found = _find(name, filename, self._commit or self._revision)
            except LocalEntryNotFoundError:  # not told apart from a hub that is away
                raise
            except EntryNotFoundError as exc:
                raise ModelLoadFailure(f"{name} has no {filename}: it is no diffusers model.") from exc
        # Cached files lie in …/snapshots/<commit>/<filename>; the next one must be of the same commit.
        folder = found.parents[filename.count("/")]
        self._commit = folder.name
        return found

    def fetch_if_possible(self, filename: str) -> None:
        """As `fetch`, but does nothing where that raises."""
        with suppress(ModelLoadFailure):
            self.fetch(filename)


@contextmanager
def hub_errors(name: str, *, absent: str, away: str) -> Generator[None]:
    """Raises ModelLoadFailure, with one line for people, for what the hub's library raises inside.

    name: the repository. absent, away: how the line begins where the hub has no such repository, or is not reached.
    """
    import httpx2
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as exc:
        raise ModelLoadFailure(
            f"{name} is gated: accept its terms on https://huggingface.co/{name} and run `hf auth login`."
        ) from exc
    except (RepositoryNotFoundError, HFValidationError) as exc:
        raise ModelLoadFailure(f"{absent} the hub shows no such model.") from exc
    except RevisionNotFoundError as exc:
        raise ModelLoadFailure(f"{name} has no such revision on the hub.") from exc
    except OfflineModeIsEnabled as exc:
        raise ModelLoadFailure(f"{away} the hub cannot be reached: HF_HUB_OFFLINE is set.") from exc
    except HfHubHTTPError as exc:
        if exc.response.status_code in (401, 403):
            raise ModelLoadFailure(f"{name}: the hub does not let you in; run `hf auth login`.") from exc
        raise ModelLoadFailure(f"{away} the hub cannot be reached.") from exc
    except (OSError, httpx2.HTTPError) as exc:
        if isinstance(exc, OSError) and exc.errno is not None and not isinstance(exc, ConnectionError | TimeoutError):
            raise ModelLoadFailure(f"{name} cannot be written to the hub's cache: {exc.strerror}.") from exc
        raise ModelLoadFailure(f"{away} the hub cannot be reached.") from exc


def cached_commit(repo_id: str, revision: str | None) -> str | None:
    """The commit that the cache holds for the revision (None: `main`); None if it holds none."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo_id, "model_index.json", revision=revision)
    return Path(found).parent.name if isinstance(found, str) else None


def _find(repo_id: str, filename: str, revision: str | None) -> Path:
    """Raises what the hub's library raises, but at once where that would try again for half a minute."""
    from huggingface_hub import (
        get_hf_file_metadata,  # pyright: ignore[reportUnknownVariableType]
        hf_hub_download,  # pyright: ignore[reportUnknownVariableType]
        hf_hub_url,
        try_to_load_from_cache,
    )
    from huggingface_hub.errors import EntryNotFoundError

    cached = try_to_load_from_cache(repo_id, filename, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    if cached is not None:
        raise EntryNotFoundError  # the cache knows that the commit has no such file
    with suppress(EntryNotFoundError):  # the next line notes that in the cache
        get_hf_file_metadata(hf_hub_url(repo_id, filename, revision=revision), timeout=ANSWER_WITHIN_S)
    return Path(hf_hub_download(repo_id, filename, revision=revision, etag_timeout=ANSWER_WITHIN_S))
