"""Builds the engine that a spec describes; called in a worker process only."""

from danqing.core.engine_port import Engine
from danqing.engine.device import choose_device
from danqing.engine.families.registry import FamilyRegistry
from danqing.engine.resident import ResidentEngine
from danqing.engine.spec import EngineSpec
from danqing.engine.upscale.real_esrgan import RealEsrgan


def build_engine(spec: EngineSpec) -> Engine:
    """An engine that has loaded nothing yet. Raises ModelLoadFailure if the spec names what is not there."""
    return ResidentEngine(
        spec,
        device=choose_device(spec.device, spec.dtype),
        families=FamilyRegistry(),
        upscaler=RealEsrgan(threads=spec.upscale_threads),
    )
