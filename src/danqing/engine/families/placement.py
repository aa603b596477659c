"""Where the networks of a loaded pipeline are: on one device, on several, or brought to it while they run."""

# pyright: reportMissingTypeStubs=false
# (accelerate has no types)

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, cast

import structlog
import torch
from accelerate import cpu_offload_with_hook, dispatch_model, infer_auto_device_map  # pyright: ignore[reportUnknownVariableType]
from accelerate.hooks import AlignDevicesHook, add_hook_to_module  # pyright: ignore[reportUnknownVariableType]
from diffusers.hooks.group_offloading import (
    _is_group_offload_enabled,  # pyright: ignore[reportPrivateUsage, reportUnknownVariableType]
    apply_group_offloading,  # pyright: ignore[reportUnknownVariableType]
)
from torch import Tensor, nn

from danqing.engine.device import Device
from danqing.engine.families.adapter import ModelMemory
from danqing.engine.families.working_memory import Work, estimate_work

log = structlog.get_logger(__name__)

HOST = torch.device("cpu")
USUAL_SIZE = (1024, 1024)  # of a picture whose working memory is kept free beside the weights

# diffusers is not typed: a pipeline is Any.


class Placement(StrEnum):
    """How a model shares a device's memory with its own work."""

    WHOLE = "whole"  # all of it on one device
    SPREAD = "spread"  # on several, and what would be too large for any of them in pieces
    PARTS = "model_offload"  # a part is on the device while it runs
    GROUPS = "group_offload"  # a layer is


def networks(pipelines: Iterable[Any]) -> dict[str, nn.Module]:
    """Every network of these pipelines, once; those of one name are told apart by number."""
    found: dict[int, tuple[str, nn.Module]] = {}
    for pipeline in pipelines:
        for name, part in pipeline.components.items():
            if isinstance(part, nn.Module):
                found.setdefault(id(part), (name, part))
    named: dict[str, nn.Module] = {}
    for name, part in found.values():
        named[name if name not in named else f"{name}_{len(named)}"] = part
    return named


def weights_bytes(*networks: nn.Module) -> int:
    """Of all their weights, quantised or not, wherever they are; what two layers or networks share counts once."""
    return sum(_tensor_bytes(tensor) for tensor in _tensors(networks))


def _tensors(networks: Iterable[nn.Module]) -> Iterable[Tensor]:
    """Every weight once, though it may hang in several places."""
    own = (tensor for network in networks for tensor in (*network.parameters(), *network.buffers()))
    return {_memory_of(tensor): tensor for tensor in own}.values()


def _memory_of(tensor: Tensor) -> object:
    """Equal for tensors of the same memory, so far as they tell where it is."""
    if hasattr(tensor, "__tensor_flatten__") or tensor.data_ptr() == 0:
        return id(tensor)
    return tensor.device, tensor.data_ptr()


def _tensor_bytes(tensor: Tensor) -> int:
    """A quantised one says the size of the numbers that it stands for; what it keeps are tensors inside."""
    inner = getattr(tensor, "__tensor_flatten__", None)
    if inner is None:
        return tensor.nbytes
    names: Sequence[str] = inner()[0]
    return sum(_tensor_bytes(cast(Tensor, getattr(tensor, name))) for name in names)


def choose_placement(parts: Mapping[str, int], *, devices: Sequence[int], work: Work, offload: bool) -> Placement:
    """parts: bytes of each. devices: what may be used of each device of the group, in bytes; the first one computes.

    A model that fits on one device is there, unless it is to be offloaded. One that fits nowhere counts as WHOLE:
    loading it runs out of memory, which is then said.
    """
    if offload:
        needed = max(parts.values()) + work.beside_largest(parts)
        return Placement.GROUPS if needed > devices[0] else Placement.PARTS
    total = sum(parts.values())
    if total + work.most > devices[0] and total + work.most * len(devices) <= sum(devices) and len(devices) > 1:
        return Placement.SPREAD
    return Placement.WHOLE


def assign(parts: Mapping[str, int], *, devices: Sequence[int], working_bytes: int) -> dict[str, int | None]:
    """The number of the device for each part; None for one that has to be cut in pieces.

    The autoencoder and the transformer come first, for they work on the same latents: on the first device, if they fit.
    """
    room = [device - working_bytes for device in devices]
    assigned: dict[str, int | None] = {}
    for name in sorted(parts, key=lambda name: (name != "vae", name != "transformer", -parts[name])):
        where = next((i for i, free in enumerate(room) if parts[name] <= free), None)
        assigned[name] = where
        if where is not None:
            room[where] -= parts[name]
    return assigned


def place(pipeline: Any, device: Device, *, offload: bool) -> None:  # noqa: ANN401
    """Puts the networks, which are in the host's memory, where they are to run. Raises what torch raises."""
    if not device.is_cuda:
        pipeline.to(device.torch_device)
        if offload:
            log.warning("cpu_offload_has_no_effect", device=str(device.torch_device))
        return
    parts = {name: weights_bytes(network) for name, network in networks([pipeline]).items()}
    work, capacity = usual_work(pipeline), device.capacity_bytes()
    placement = choose_placement(parts, devices=[capacity] * (1 + len(device.others)), work=work, offload=offload)
    match placement:
        case Placement.WHOLE:
            pipeline.to(device.torch_device)
        case Placement.SPREAD:
            spread(pipeline, [device.torch_device, *device.others], capacity, working_bytes=work.most)
        case Placement.PARTS | Placement.GROUPS:
            offload_parts(pipeline, device)


def offload_parts(pipeline: Any, device: Device) -> None:  # noqa: ANN401
    """Of the pipeline's networks only what runs is on the device: whole parts, or where one is too large its layers.

    Fine for a pipeline whose networks belong, some of them, to another one that is offloaded.
    """
    parts = networks([pipeline])
    sizes = {name: weights_bytes(part) for name, part in parts.items()}
    chosen = choose_placement(sizes, devices=[device.capacity_bytes()], work=usual_work(pipeline), offload=True)
    if chosen is Placement.PARTS and not any(comes_in_layers(part) for part in parts.values()):
        pipeline.enable_model_cpu_offload(device=device.torch_device)
        return
    pipeline.remove_all_hooks()
    for name, part in parts.items():
        offload_groups(part, device, stream=device.torch_device.type == "cuda" and name != "vae")


def offload_for_once(parts: Any, pipelines: Sequence[Any], device: Device) -> None:  # noqa: ANN401
    """Of WHOLE networks, which are in the host's memory, each is on the device while it runs; those too that only
    others of the pipelines than `parts` have, for one of them may be run. Undone by `remove_all_hooks` of all.
    """
    parts.enable_model_cpu_offload(device=device.torch_device)
    for network in networks(pipelines).values():
        if not hasattr(network, "_hf_hook"):
            cpu_offload_with_hook(network, device.torch_device)


def offload_groups(network: nn.Module, device: Device, *, stream: bool) -> None:
    """Of the network only the layers that run are on the device; once is enough.

    stream: the next ones are on their way meanwhile; not for what may work in tiles at its first call.
    """
    if not comes_in_layers(network):
        apply_group_offloading(
            network,
            onload_device=device.torch_device,
            offload_device=HOST,
            offload_type="leaf_level",
            use_stream=stream,
        )


def comes_in_layers(network: nn.Module) -> bool:
    """Whether `offload_groups` was called for it."""
    return _is_group_offload_enabled(network)


def spread(pipeline: Any, devices: Sequence[torch.device], capacity: int, *, working_bytes: int) -> None:  # noqa: ANN401
    """The networks on several devices; each takes what it is called with from wherever that is, and gives it back
    there. diffusers' own `device_map` knows no part that is too large for a device, and puts the autoencoder anywhere.
    """
    parts = networks([pipeline])
    sizes = {name: weights_bytes(part) for name, part in parts.items()}
    assigned = assign(sizes, devices=[capacity] * len(devices), working_bytes=working_bytes)
    room = [capacity - working_bytes] * len(devices)
    for name, where in assigned.items():
        if where is not None:
            room[where] -= sizes[name]
            bring(parts[name], devices[where])
    for name in (name for name, where in assigned.items() if where is None):
        _cut(parts[name], devices, room)  # last, for it takes what the whole parts have left
        room = [0] * len(devices)
    log.info("model_spread", parts={name: "pieces" if i is None else str(devices[i]) for name, i in assigned.items()})


def bring(network: nn.Module, device: torch.device) -> None:
    """All of a network to a device, which its callers need not know."""
    network.to(device)
    add_hook_to_module(network, AlignDevicesHook(execution_device=device, io_same_device=True))


def _cut(network: nn.Module, devices: Sequence[torch.device], room: Sequence[int]) -> None:
    """Its layers one after another to the devices, as far as each has room. Raises OutOfMemoryError."""
    limits = dict(zip((device.index for device in devices), room, strict=True))
    unsplit = getattr(network, "_no_split_modules", None)
    pieces = cast(
        dict[str, Any], infer_auto_device_map(network, max_memory=cast(Any, limits), no_split_module_classes=unsplit)
    )
    if any(place in ("cpu", "disk") for place in pieces.values()):
        raise torch.OutOfMemoryError("a part does not fit on the devices")
    dispatch_model(network, pieces, main_device=cast(Any, devices[0].index), force_hooks=True)


def placement_of(pipelines: Sequence[Any], device: Device) -> Placement:
    """What is in force, as the networks themselves say."""
    parts = networks(pipelines).values()
    if any(comes_in_layers(part) for part in parts):
        return Placement.GROUPS
    if any(getattr(pipeline, "_all_hooks", None) for pipeline in pipelines):
        return Placement.PARTS
    if any(tensor.device in device.others for part in parts for tensor in part.parameters()):
        return Placement.SPREAD
    return Placement.WHOLE


def device_memory(pipelines: Sequence[Any], device: Device) -> ModelMemory:
    """Bytes of the weights, as `placement_of` says where they are; of a group's devices the first one counts."""
    named = networks(pipelines)
    parts = {name: weights_bytes(part) for name, part in named.items()}
    total, largest = weights_bytes(*named.values()), max(parts.values())
    match placement_of(pipelines, device):
        case Placement.WHOLE:
            leanest = largest if device.is_cuda else None
            return ModelMemory(total=total, held=total, running=total, leanest=leanest, parts=parts)
        case Placement.SPREAD:
            tensors = _tensors(named.values())
            here = sum(_tensor_bytes(tensor) for tensor in tensors if tensor.device == device.torch_device)
            return ModelMemory(total=total, held=here, running=here, leanest=None, parts=parts)
        case Placement.PARTS:
            return ModelMemory(total=total, held=0, running=largest, leanest=None, parts=parts)
        case Placement.GROUPS:
            return ModelMemory(total=total, held=0, running=0, leanest=None, parts=parts)


def move(pipelines: Sequence[Any], device: torch.device) -> None:
    """All networks, which must be WHOLE, to a device."""
    for part in networks(pipelines).values():
        part.to(device)


def usual_work(pipeline: Any) -> Work:  # noqa: ANN401
    """Of a picture of the usual size."""
    return estimate_work(pipeline, USUAL_SIZE, 1, guided=False, tiled=False)
