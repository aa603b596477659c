"""A Z-Image transformer that refines its text once for all steps: that part of its work does not depend on the step.

diffusers runs the refiner in each one. It is 2 of the 34 blocks of Z-Image-Turbo, and 1 of 8 of the sample model,
though on few tokens: what it costs are calls more than arithmetic. Pictures are the same to the byte.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, cast

from torch import Tensor, nn


class TextOnce:
    """For one call of a pipeline, in which runs of as many texts are about the same texts."""

    def __init__(self, transformer: Any) -> None:  # noqa: ANN401  diffusers is not typed
        self._transformer = transformer
        self._refiner = _RunOnce(cast(nn.ModuleList, transformer.context_refiner))

    @cached_property
    def dtype(self) -> Any:  # noqa: ANN401
        """The transformer's. The pipeline asks in every step, and diffusers looks through all modules each time."""
        return self._transformer.dtype

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._transformer, name)

    def __call__(self, *args: object, **named: object) -> Any:  # noqa: ANN401
        """As the transformer's."""
        with self._refining_once():
            return self._transformer(*args, **named)

    @contextmanager
    def _refining_once(self) -> Generator[None]:
        """The transformer is as before afterwards."""
        layers = self._transformer.context_refiner
        self._transformer.context_refiner = self._refiner
        try:
            yield
        finally:
            self._transformer.context_refiner = layers


class _RunOnce(nn.ModuleList):
    """The same layers, so that what moves the transformer to a device, as it is called, moves them too; who goes
    through them finds one that remembers.
    """

    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__(layers)
        self._remembering = (_Remembering(layers),)  # in a tuple: it is not a part of this one

    def __iter__(self) -> Iterator[nn.Module]:
        """Instead of the layers."""
        return iter(self._remembering)


class _Remembering(nn.Module):
    """Stands for all layers of the refiner, which themselves stay as they are."""

    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self._layers = tuple(layers)  # a tuple's modules are not taken for parts of this one
        self._refined: dict[int, Tensor] = {}  # by the number of texts: with and without the negative ones

    def forward(self, texts: Tensor, *others: object) -> Tensor:
        """texts: (N, tokens, width)."""
        if (refined := self._refined.get(len(texts))) is None:
            refined = texts
            for layer in self._layers:
                refined = layer(refined, *others)
            self._refined[len(texts)] = refined
        return refined
