"""What a GPU would be waited for, though there is none: numbers of its tensors that the host asks for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAIT = ("_local_scalar_dense", "is_nonzero", "item", "nonzero", "equal")


class Asked(TorchDispatchMode):
    """While it is entered. names: of the operations that ask, in their order. also: names of further ones."""

    def __init__(self, *also: str) -> None:
        super().__init__()
        self._noted = {*WAIT, *also}
        self.names: list[str] = []

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401  as torch has it
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        operation: Callable[..., Any] = func
        name: str = func._schema.name.removeprefix("aten::")
        if name in self._noted:
            self.names.append(name)
        return operation(*args, **(kwargs or {}))


ASKS = ("item", "tolist", "__bool__", "__float__", "__int__", "nonzero", "equal", "numpy")


class OnDevice(torch.Tensor):
    """A tensor that stands for one of a device, as all do that are computed from it. asked: of all of them, what the
    host asked for, in its order.
    """

    asked: ClassVar[list[str]] = []

    @classmethod
    def __torch_function__(
        cls,
        func: Any,  # noqa: ANN401  as torch has it
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Notes it."""
        name = getattr(func, "__name__", "")
        if name in ASKS:
            cls.asked.append(name)
        return super().__torch_function__(func, types, args, kwargs or {})


def on_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """In the place of `launched.sent`."""
    return tensor.to(device).as_subclass(OnDevice)
