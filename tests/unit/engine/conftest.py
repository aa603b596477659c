"""One tiny checkpoint for all engine tests of a run; nobody writes into it."""

from collections.abc import Generator
from pathlib import Path

import pytest
import torch

from danqing.engine import device
from tests.unit.engine.tiny_checkpoint import write_tiny_checkpoint


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that makes any size."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    write_tiny_checkpoint(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Generator[None]:
    """Networks this small are slower on several threads, far slower where other work wants the cores too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package", autouse=True)
def exact_numbers() -> Generator[None]:
    """What is compared number by number is computed in float32, whatever this machine's cores are quickest with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "CPU_INFO", Path("/nowhere"))
        yield


@pytest.fixture(autouse=True)
def own_gpu(request: pytest.FixtureRequest) -> Generator[None]:
    """A GPU of which every test finds the same: a limit of one's memory is not the next one's, and what cuBLAS takes
    for good at the first multiplication of a process it has taken before anybody counts.
    """
    if request.node.get_closest_marker("gpu") is None or not torch.cuda.is_available():
        yield
        return
    ones = torch.ones(8, 8, device="cuda")
    torch.mm(ones, ones)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
