"""What is told of an exception in a worker process, and whether the process can go on after it."""

import re

from danqing.core.errors import DanqingError, EngineFailure, OutOfMemory
from danqing.core.types import JobFailure

# After one of these every later call on the device fails too, until the process ends. HIP is CUDA's name on AMD.
_STICKY = re.compile(r"(CUDA|HIP) error|illegal memory|device-side assert|\bECC\b|\bXid\b")


def describe(
    error: BaseException, *, poisoned: bool = False, otherwise: type[EngineFailure] = EngineFailure
) -> JobFailure:
    """The failure in words safe for anyone; `otherwise` speaks for errors that are not of our tree.

    poisoned: the process may be to blame, so another attempt may succeed.
    """
    match error:
        case DanqingError():
            known = error
        case MemoryError():
            known = OutOfMemory()
        case _:
            known = otherwise()
    return JobFailure(code=known.code, message=known.public_message, retryable=known.retryable or poisoned)


def poisons_process(error: BaseException) -> bool:
    """True for a sticky device error, anywhere in the chain of causes. Running out of memory is not one."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, OutOfMemory | MemoryError):
            return False
        if _STICKY.search(f"{type(chain).__name__} {chain}"):
            return True
        chain = chain.__cause__ or chain.__context__
    return False
