"""A model of the server, as what residency moves about: its adapter, made anew whenever it is read."""

import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from danqing.core.capabilities import ModelCard
from danqing.core.errors import EngineFailure, ModelLoadFailure
from danqing.core.types import ModelStatus
from danqing.engine.compiler import failing_or_going_on, is_compiled
from danqing.engine.device import is_out_of_memory
from danqing.engine.families.adapter import AdapterOptions, FamilyAdapter
from danqing.engine.library_errors import LIBRARY_ERRORS, translated
from danqing.engine.residency import WeightSize
from danqing.engine.spec import Compile
from danqing.engine.stored_precision import is_by_sdnq
from danqing.engine.weight_files import expected_bytes

log = structlog.get_logger(__name__)


class ResidentModel:
    """A `Resident`. For one thread."""

    def __init__(
        self,
        card: ModelCard,
        options: AdapterOptions,
        *,
        compile: Compile = False,
        adapter: Callable[[ModelCard, AdapterOptions], FamilyAdapter],
    ) -> None:
        """compile: as in `EngineSpec`; what the options say of it is not looked at."""
        self.card = card
        self._options = options
        self._compile: Compile = compile
        self._make_adapter = adapter
        self._adapter: FamilyAdapter | None = None
        self._expected: WeightSize | None = None  # None: not looked up, or not known
        self._status: ModelStatus | None = None

    @property
    def adapter(self) -> FamilyAdapter:
        """Raises ModelLoadFailure while the model is not loaded."""
        if self._adapter is None:
            raise ModelLoadFailure(f"Model {self.card.id} is not loaded.")
        return self._adapter

    def load(self) -> None:
        """See `Resident`."""
        started, model, device = time.monotonic(), self.card.id, self._options.device
        log.info("model_loading", model=model, source=self.card.source)
        with translated("load", model, ModelLoadFailure(f"Model {model} makes no picture.")):
            adapter = self._loaded_as_it_pays()
            status = adapter.status()
        self._adapter, self._status = adapter, status
        log.info(
            "model_loaded",
            model=model,
            origin="disk",
            device=str(device.torch_device),
            dtype=status.dtype,
            precision=status.precision,
            attention=status.attention,
            compiled=status.compiled,
            vae=status.vae,
            placement=status.placement,
            weights_bytes=adapter.memory().total,
            seconds=round(time.monotonic() - started, 2),
        )

    def _loaded_as_it_pays(self) -> FamilyAdapter:
        """Compiled or not. Where nobody has asked for that, a failure of the libraries is a reason to go without."""
        compiled = self._is_compiled()
        if not compiled or self._compile != "auto":
            return self._loaded(compiled=compiled)
        try:
            with failing_or_going_on():
                return self._loaded(compiled=True)
        except LIBRARY_ERRORS as exc:
            if is_out_of_memory(exc):
                raise
            log.warning("loading_compiled_failed_trying_without", model=self.card.id, exc_info=True)
        # Only here, where the error is gone and with it the frames that held the failed try's tensors.
        self._options.device.free_unused_memory()
        return self._loaded(compiled=False)

    def _loaded(self, *, compiled: bool) -> FamilyAdapter:
        adapter = self._make_adapter(self.card, replace(self._options, compile=compiled))
        try:
            adapter.load()
        except BaseException:
            adapter.unload()
            raise
        return adapter

    def _is_compiled(self) -> bool:
        size, halved = self.size(), self.card.precision.startswith("torchao")  # which is in 8 bits in the end
        return is_compiled(
            self._compile,
            self._options.device,
            weights_bytes=None if size is None else size.total_bytes // (2 if halved else 1),
            by_sdnq=lambda: is_by_sdnq(self.card),
            cpu_offload=self._options.cpu_offload,
        )

    def status(self) -> ModelStatus | None:
        """As it was once it was loaded; None while it is not. Any thread."""
        return self._status

    def to_host(self) -> bool:
        """See `Resident`."""
        with translated("to_host", self.card.id, EngineFailure()):
            moved = self.adapter.to_host()
        self._tell(on_device=not moved)
        return moved

    def to_device(self) -> None:
        """See `Resident`."""
        with translated("to_device", self.card.id, EngineFailure()):
            self.adapter.to_device()
        self._tell(on_device=True)

    def _tell(self, *, on_device: bool) -> None:
        if self._status is not None:
            self._status = replace(self._status, on_device=on_device)

    def unload(self) -> None:
        """See `Resident`."""
        adapter, self._adapter, self._status = self._adapter, None, None
        if adapter is not None:
            adapter.unload()

    def size(self) -> WeightSize | None:
        """See `Resident`."""
        if self._adapter is not None:
            memory = self._adapter.memory()
            return WeightSize(total_bytes=memory.total, device_bytes=memory.held)
        if self._expected is None:
            self._expected = self._look_up()
        return self._expected

    def _look_up(self) -> WeightSize | None:
        total = expected_bytes(self.card, float_bytes=self._options.device.dtype.itemsize)
        if total is None:
            return None
        offloaded = self._options.cpu_offload and self._options.device.is_cuda
        return WeightSize(total_bytes=total, device_bytes=0 if offloaded else total)
