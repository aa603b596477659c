"""Which models this server offers, found by the names that clients use. Imports no torch: the server reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from danqing.core.capabilities import ModelCard
from danqing.core.errors import ModelLoadFailure, UnknownModel
from danqing.core.model_names import meant_model
from danqing.core.sentences import says
from danqing.core.types import Mode
from danqing.core.upscaling import UPSCALER
from danqing.engine.hub import cached_commit
from danqing.engine.known_models import KnownModels
from danqing.engine.lora_files import LoraFiles

SHOWN_NAME = 100  # characters of a name that a client made up


class Catalogue:
    """A `ModelCatalogue` of the models that the workers load: exactly the ones named to it."""

    def __init__(
        self,
        default: str,
        *,
        others: Sequence[str] = (),
        aliases: Mapping[str, str] | None = None,
        known: KnownModels | None = None,
        loras: LoraFiles | None = None,
    ) -> None:
        """default, others: names as `KnownModels.find` takes them; what they are served with comes behind them.
        aliases: see `core/model_names.py`.

        Blocking, and raises, as `KnownModels.find`; raises ModelLoadFailure also for two models of one id.
        """
        self._aliases = dict(aliases or {})
        self._cards: dict[str, ModelCard] = {}
        known = known or KnownModels()
        for name in (default, *others):
            card = _pinned(known.find(name))
            if card.id == UPSCALER:
                raise ModelLoadFailure(f"No model may have the id {UPSCALER}; models.toml can give it another.")
            if card.id in self._cards:
                raise ModelLoadFailure(f"Two models would have the id {card.id}; models.toml can give one another.")
            self._cards[card.id] = card
        for name in [name for card in self.cards() for name in card.served_with]:
            if name not in self._cards:
                self._cards[name] = _pinned(known.find(name))
        self._loras = loras or LoraFiles(None)
        self._tell_loras()

    def refresh(self) -> None:
        """See `ModelCatalogue`."""
        self._loras.read()
        self._tell_loras()

    def _tell_loras(self) -> None:
        self._cards = {
            card.id: replace(card, loras=self._loras.names(family=card.family, model=card.id))
            for card in self._cards.values()
        }

    def default(self, *, mode: Mode | None = None, instructed: bool = False) -> ModelCard:
        """See `ModelCatalogue`."""
        cards = self.cards()
        return next((card for card in cards if _can(card, mode, instructed)), cards[0])

    def card(self, model_id: str, *, mode: Mode | None = None, instructed: bool = False) -> ModelCard:
        """See `ModelCatalogue`."""
        if model_id in self._cards:
            return self._cards[model_id]
        default = self.default(mode=mode, instructed=instructed).id
        meant = meant_model(model_id, self._aliases, default=default, served=self._cards)
        if meant is None:
            raise UnknownModel(says("no_such_model", model=model_id[:SHOWN_NAME]), parameter="model")
        return self._cards[meant]

    def cards(self) -> Sequence[ModelCard]:
        """Every model on offer, the default first."""
        return tuple(self._cards.values())


def _can(card: ModelCard, mode: Mode | None, instructed: bool) -> bool:
    can = card.capabilities
    return (mode is None or mode in can.modes) and (can.instruction_edit or not instructed)


def _pinned(card: ModelCard) -> ModelCard:
    """A hub model of no fixed revision is served at the commit that is on this disk, though a newer one appears."""
    if Path(card.source).is_absolute():
        return card
    return replace(card, revision=cached_commit(card.source, card.revision) or card.revision)
