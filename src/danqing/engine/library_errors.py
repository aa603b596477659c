"""What torch and diffusers raise, as errors of the house."""

from collections.abc import Generator
from contextlib import contextmanager

import structlog

from danqing.core.errors import EngineFailure, OutOfMemory
from danqing.engine.device import is_out_of_memory

# What torch and diffusers raise; anything else comes from the caller's callbacks and is theirs.
LIBRARY_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, MemoryError)

log = structlog.get_logger(__name__)


@contextmanager
def translated(stage: str, model: str, failure: EngineFailure) -> Generator[None]:
    """Raises OutOfMemory, or else the failure, for what the libraries raise inside. stage, model: for the log."""
    try:
        yield
    except LIBRARY_ERRORS as exc:
        if is_out_of_memory(exc):
            raise OutOfMemory from exc
        log.error("engine_failure", stage=stage, model=model, exc_info=True)
        raise failure from exc
