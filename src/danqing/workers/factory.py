"""How a worker process is told what to build: the name of a function and its argument, both small and picklable."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Generic, TypeVar, cast

from danqing.core.engine_port import Engine
from danqing.core.picture_ports import ArtifactStore

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Factory(Generic[T]):
    """target: "package.module:callable" taking the argument. Imported where `build` is called, not before."""

    target: str
    argument: object

    @property
    def module(self) -> str:
        """Which has the target."""
        return self.target.partition(":")[0]

    def build(self) -> T:
        """Imports the target and calls it. Raises whatever the import or the call raises."""
        _, _, name = self.target.partition(":")
        make = cast(Callable[[object], T], getattr(import_module(self.module), name))
        return make(self.argument)


EngineFactory = Factory[Engine]
ArtifactStoreFactory = Factory[ArtifactStore]
SetupFactory = Factory[None]
