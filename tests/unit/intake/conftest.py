"""An intake over a real folder and real processes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from danqing.blobs.local import LocalArtifactStore
from danqing.intake.limits import IntakeLimits
from danqing.intake.sandboxed import SandboxedIntake


@pytest.fixture
def artifacts(tmp_path: Path) -> LocalArtifactStore:
    return LocalArtifactStore(tmp_path / "outputs")


@pytest.fixture
async def intake(artifacts: LocalArtifactStore) -> AsyncIterator[SandboxedIntake]:
    made = SandboxedIntake(artifacts)
    yield made
    await made.close()


@pytest.fixture
def staged_files(artifacts: LocalArtifactStore) -> Callable[[], list[Path]]:
    """What lies in the folder now."""
    return lambda: list(artifacts.staging().iterdir())


@asynccontextmanager
async def an_intake(artifacts: LocalArtifactStore, **limits: float) -> AsyncIterator[SandboxedIntake]:
    made = SandboxedIntake(artifacts, limits=IntakeLimits(**limits))  # pyright: ignore[reportArgumentType]
    try:
        yield made
    finally:
        await made.close()
