"""Removes models from the hub's cache. Folders of one's own, and what comes with Danqing, are never touched."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from danqing.core.capabilities import ModelCard
from danqing.model_files.state import is_local

if TYPE_CHECKING:
    from huggingface_hub.utils import DeleteCacheStrategy, HFCacheInfo


@dataclass(frozen=True, kw_only=True)
class Removal:
    """repositories: of the cache, to be removed with all their revisions. size_bytes: that this frees.

    kept: repositories of companions that stay, because another model has them too. sharers: ids of other models that
    have the removed files too. strategies: the hub library's, one a repository.
    """

    repositories: tuple[str, ...]
    size_bytes: int
    kept: tuple[str, ...]
    sharers: tuple[str, ...]
    strategies: "tuple[DeleteCacheStrategy, ...]"

    def execute(self) -> None:
        """Removes them. Blocking."""
        for strategy in self.strategies:
            strategy.execute()


def plan_removal(card: ModelCard, others: Sequence[ModelCard]) -> Removal:
    """card: a hub model. others: every other model that has an id here. Blocking: reads the whole cache's folders."""
    companions = {companion.source for companion in card.companions if not is_local(companion)} - {card.source}
    used = {source for other in others for source in (other.source, *(each.source for each in other.companions))}
    named = (card.source, *sorted(companions - used))
    cache = _cache()
    found = {each.repo_id: each for each in cache.repos if each.repo_type == "model"} if cache else {}
    repositories = tuple(found[repo_id] for repo_id in named if repo_id in found)
    # Each apart: the library looks for commits in all repositories, and copies of one have the same commits.
    strategies = tuple(
        replace(cache, repos=frozenset({each})).delete_revisions(*(revision.commit_hash for revision in each.revisions))
        for each in repositories
        if cache
    )
    return Removal(
        repositories=tuple(each.repo_id for each in repositories),
        size_bytes=sum(strategy.expected_freed_size for strategy in strategies),
        kept=tuple(sorted(companions & used)),
        sharers=tuple(
            other.id for other in others if card.source in (other.source, *(each.source for each in other.companions))
        ),
        strategies=strategies,
    )


def _cache() -> "HFCacheInfo | None":
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        return scan_cache_dir(constants.HF_HUB_CACHE)
    except CacheNotFound:
        return None
