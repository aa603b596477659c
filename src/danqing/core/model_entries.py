"""What the person who runs a server says of a model, over what its checkpoint says of itself."""

from dataclasses import asdict, dataclass, replace

from danqing.core.capabilities import Companion, ModelDefaults, Precision


@dataclass(frozen=True, kw_only=True)
class ChosenDefaults:
    """As `ModelDefaults`; None leaves the model's own."""

    width: int | None = None
    height: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    strength: float | None = None

    def over(self, own: ModelDefaults) -> ModelDefaults:
        """The model's own, with what was chosen instead."""
        return replace(own, **{name: value for name, value in asdict(self).items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A model that has its id from the person who runs the server. None: as the checkpoint or built-in model has it.

    place: where this was written, for messages. source, revision: as in `ModelCard`; an entry without source changes
    the built-in model of its id. companions: beside, and instead of, those that the model brings.
    """

    place: str
    id: str
    source: str | None = None
    revision: str | None = None
    title: str | None = None
    precision: Precision | None = None
    defaults: ChosenDefaults = ChosenDefaults()
    companions: tuple[Companion, ...] = ()
