"""Danqing with an engine that takes as long as it is told: `python held_engine.py serve|worker FOLDER WORK_S`.

Settings as ever. Nothing is made before the file `go` is in the folder, so that a queue can be filled first.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fake_engine import STEPS, FakeEngine

from danqing.cli.options import settings_from
from danqing.core.engine_port import Observer, Outcome, ReadImage
from danqing.core.types import GenerationRequest
from danqing.workers.factory import EngineFactory


@dataclass(frozen=True, kw_only=True)
class Hold:
    """folder: where `go` will be. work_s: what the device needs for a batch."""

    folder: Path
    work_s: float


class HeldEngine(FakeEngine):
    """Flat pictures, once it may."""

    def __init__(self, hold: Hold) -> None:
        super().__init__(is_idle=False, step_s=hold.work_s / STEPS)
        self._hold = hold
        self._may = False

    def denoise(
        self, requests: Sequence[GenerationRequest], *, read_image: ReadImage, observers: Sequence[Observer]
    ) -> Sequence[Outcome]:
        """Four steps, each told, within the time."""
        while not self._may:
            self._may = (self._hold.folder / "go").exists()
            if not self._may:
                if all([observer.stopped() for observer in observers]):
                    return [None] * len(requests)
                time.sleep(0.002)
        return super().denoise(requests, read_image=read_image, observers=observers)


def main(role: str, folder: Path, work_s: float) -> None:
    """Runs until a signal."""
    engine = EngineFactory(target="held_engine:HeldEngine", argument=Hold(folder=folder, work_s=work_s))
    if role == "worker":
        from danqing.cli.worker import run_worker

        run_worker(settings_from(), engine=engine)
    else:
        from danqing.cli.serve import run_server

        run_server(settings_from(), engine=engine)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
