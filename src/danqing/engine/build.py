"""Builds the engine that a spec describes; called in a worker process only."""

from danqing.core.engine_port import Engine
from danqing.engine.device import choose_device
from danqing.engine.families.registry import FamilyRegistry
from danqing.engine.resident import ResidentEngine
from danqing.engine.spec import EngineSpec
from danqing.engine.upscale.building import build_upscaler


def build_engine(spec: EngineSpec) -> Engine:
    """An engine that has loaded nothing yet. Raises ModelLoadFailure if the spec names what is not there."""
    device = choose_device(spec.device, spec.dtype, memory_bytes=spec.memory_bytes)
    return ResidentEngine(
        spec,
        device=device,
        families=FamilyRegistry(),
        upscaler=build_upscaler(spec.upscaler, device, cpu_threads=spec.upscale_threads),
    )
