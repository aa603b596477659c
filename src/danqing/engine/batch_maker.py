"""A batch of orders to pictures on a device whose memory is not endless.

What is foreseen not to fit is not tried; what runs out of memory all the same is tried again in ways that take less.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from danqing.core.engine_port import Outcome
from danqing.core.errors import EngineFailure, OutOfMemory, TooLargeForDevice
from danqing.core.sentences import says
from danqing.core.types import GenerationRequest, LatentPicture, RawPicture
from danqing.engine.device import Device, is_out_of_memory
from danqing.engine.families.adapter import MadePicture, ModelMemory, Order, StepWatcher, UndecodedPicture
from danqing.engine.library_errors import translated
from danqing.engine.memory_plan import Call, Peaks, Size, Way, foreseen_bytes, largest_batch, largest_size
from danqing.engine.picture import raw_picture
from danqing.engine.residency import Residency
from danqing.engine.resident_model import ResidentModel

log = structlog.get_logger(__name__)
Made = MadePicture | UndecodedPicture


@dataclass(frozen=True)
class Pending:
    """An order of a batch, and who is told of it."""

    order: Order
    watcher: StepWatcher


class BatchMaker:
    """Every model of a device, in one thread."""

    def __init__(
        self, models: Mapping[str, ResidentModel], *, residency: Residency, device: Device, peaks: Peaks
    ) -> None:
        self._models = models
        self._residency = residency
        self._device = device
        self._peaks = peaks

    def make(self, batch: Sequence[Pending], size: Size) -> list[Outcome]:
        """batch: at least one order, all alike. size: that the model makes.

        What fails together is made one by one, but for pictures that turn out to be none when they are asked for.
        """
        request = batch[0].order.request
        model = self._models[request.model]
        try:
            self._residency.use(request.model)
        except EngineFailure as failure:
            return [failure] * len(batch)
        together = len(batch) if request.step_cache is None else 1  # as `BatchRule` says
        planned = self._plan(model, request, size, together)
        if planned is None:
            return [self._too_large(model, request, size)] * len(batch)
        way, pictures = planned
        if way is not Way.PLAIN:
            log.info("memory_spared_beforehand", model=request.model, size=f"{size[0]}x{size[1]}", way=str(way))
        if pictures < together:
            log.info("batch_split_for_memory", model=request.model, pictures=len(batch), together=pictures)
        parts = [batch[i : i + pictures] for i in range(0, len(batch), pictures)]
        return [outcome for part in parts for outcome in self._make_part(model, part, size, way)]

    def _make_part(self, model: ResidentModel, batch: Sequence[Pending], size: Size, way: Way) -> list[Outcome]:
        if len(batch) > 1:
            try:
                return self._make_together(model, batch, size, way)
            except EngineFailure:
                log.warning("batch_failed_trying_one_by_one", pictures=len(batch))
            self._device.free_unused_memory()
        return [self._make_alone(model, pending, size, way) for pending in batch]

    def _make_alone(self, model: ResidentModel, pending: Pending, size: Size, way: Way) -> Outcome:
        failure: EngineFailure = OutOfMemory()
        try:
            self._residency.use(model.card.id)  # the picture before this one may have lost it
            ways = self._ways(model)
        except EngineFailure as failed:
            return failed
        for each in ways[ways.index(way) :] if way in ways else ways[-1:]:
            try:
                return self._make_together(model, [pending], size, each)[0]
            except OutOfMemory as failed:
                failure = failed
                if each is not ways[-1]:
                    log.warning("out_of_memory_trying_again", model=model.card.id, way=str(each))
                    # An error holds on to the frames that it came through, and they to the failed try's tensors.
                    failure = OutOfMemory()
            except EngineFailure as failed:
                return failed
            self._device.free_unused_memory()
            if each is not ways[-1]:
                self._residency.use_alone(model.card.id)
        return failure

    def _make_together(self, model: ResidentModel, batch: Sequence[Pending], size: Size, way: Way) -> list[Outcome]:
        request = batch[0].order.request
        call = self._call(model, request, size, len(batch), way)
        weights = model.adapter.memory()
        self._residency.use(model.card.id, working_bytes=self._needed(model, weights, call) - weights.held)
        with translated("denoise", model.card.id, EngineFailure()):
            if way is Way.OFFLOADED:
                made, working_bytes = self._make_offloaded(model, batch, size)
            else:
                made, working_bytes = self._run(model, batch, size, tiled=way is Way.TILED)
        # One that was stopped took less than it would have, and one that was left as it is took nothing.
        if working_bytes and all(made):
            after = model.adapter.memory()
            brought = after.running - after.held if way is not Way.OFFLOADED else after.leanest or 0
            self._peaks.note(call, max(0, working_bytes - brought))
        return [_outcome(picture, pending.order) for picture, pending in zip(made, batch, strict=True)]

    def _run(
        self, model: ResidentModel, batch: Sequence[Pending], size: Size, *, tiled: bool
    ) -> tuple[Sequence[Made | None], int | None]:
        with self._device.measured() as use:
            made = model.adapter.make(
                [pending.order for pending in batch],
                size,
                watchers=[pending.watcher for pending in batch],
                spare_memory=tiled,
            )
        return made, use.working_bytes

    def _make_offloaded(
        self, model: ResidentModel, batch: Sequence[Pending], size: Size
    ) -> tuple[Sequence[Made | None], int | None]:
        made: tuple[Sequence[Made | None], int | None] | None = None
        self._residency.make_host_room(model.card.id, model.adapter.memory().held)
        try:
            with model.adapter.offloaded():
                made = self._run(model, batch, size, tiled=True)
        except BaseException as exc:
            # Whether all of it came back to the device, nobody knows.
            self._residency.drop(model.card.id)
            if made is None or not is_out_of_memory(exc):
                raise
            log.warning("model_did_not_fit_back", model=model.card.id)
            return made[0], None
        return made

    def _plan(
        self, model: ResidentModel, request: GenerationRequest, size: Size, pictures: int
    ) -> tuple[Way, int] | None:
        """The first way in which it fits, and how many pictures together; None: in no way does even one."""
        weights, capacity = model.adapter.memory(), self._device.capacity_bytes()
        for way in self._ways(model):
            calls = {count: self._call(model, request, size, count, way) for count in range(1, pictures + 1)}
            together = largest_batch(
                lambda count, calls=calls: self._needed(model, weights, calls[count]) <= capacity, pictures
            )
            if together:
                return way, together
        return None

    def _ways(self, model: ResidentModel) -> list[Way]:
        return model.adapter.memory().ways(host_free_bytes=self._residency.host_room_bytes(model.card.id))

    def _needed(self, model: ResidentModel, weights: ModelMemory, call: Call) -> int:
        """Bytes of the device: the model's weights, as far as they are there at once, its work, and that beside it."""

        def estimate(each: Call) -> int:
            size, tiled = (each.width, each.height), each.way is not Way.PLAIN
            offloaded = each.way is Way.OFFLOADED
            return model.adapter.working_bytes(
                size, each.pictures, guided=each.guided, tiled=tiled, offloaded=offloaded
            )

        there = weights.running if call.way is not Way.OFFLOADED else weights.leanest or 0
        return there + foreseen_bytes(self._peaks, call, estimate) + self._device.side_work.expected_bytes

    def _call(self, model: ResidentModel, request: GenerationRequest, size: Size, pictures: int, way: Way) -> Call:
        card = model.card
        return Call(
            model=f"{card.source}@{card.revision}" if card.revision else card.source,
            precision=f"{card.precision} {self._device.dtype}".replace("torch.", ""),
            mode=str(request.mode),
            way=way,
            guided=card.capabilities.guidance and request.guidance_scale > 0,
            width=size[0],
            height=size[1],
            pictures=pictures,
        )

    def _too_large(self, model: ResidentModel, request: GenerationRequest, size: Size) -> TooLargeForDevice:
        largest = largest_size(
            model.card.capabilities.size_rules, size, lambda smaller: self._plan(model, request, smaller, 1) is not None
        )
        asked = {"size": f"{request.width}x{request.height}", "model": model.card.id}
        if largest is None:
            return TooLargeForDevice(says("fits_never", **asked))
        return TooLargeForDevice(says("fits_smaller", **asked, largest=f"{largest[0]}x{largest[1]}"))


def _outcome(made: Made | None, order: Order) -> Outcome:
    if made is None:
        return None
    of_input = order.start.adjustments if order.start else ()

    def raw() -> RawPicture:
        decoded = made.decoded()
        return raw_picture(decoded.rgb, (*of_input, *decoded.adjustments))

    if isinstance(made, MadePicture):
        return raw()
    return LatentPicture(compute=raw, adjustments=(*of_input, *made.adjustments))
