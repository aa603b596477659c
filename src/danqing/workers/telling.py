"""What a worker says of a job on its way: noted with the attempt, and told to the watchers."""

import asyncio

from danqing.core.events import Event, PreviewMade, ProgressMade
from danqing.core.ports import EventBus
from danqing.core.types import Stage
from danqing.core.witness import JobWitness
from danqing.workers.messages import AwaitsEnlarging, EnlargingBegan, JobProgress, PartDone, PreviewReady, StepDone
from danqing.workers.running import Running


class Telling:
    """For use from one event loop only."""

    def __init__(self, events: EventBus, witness: JobWitness) -> None:
        self._events = events
        self._witness = witness

    def advanced(self, running: Running, message: JobProgress) -> None:
        """A second try at a step is not told again, nor its preview."""
        match message:
            case PreviewReady():
                if message.step > running.meter.furthest:
                    self._publish_in_turn(
                        running,
                        PreviewMade(
                            job_id=message.job_id,
                            step=message.step,
                            total_steps=message.total_steps,
                            picture=message.picture,
                        ),
                    )
            case StepDone():
                self._progressed(running, message.step, message.total_steps)
            case AwaitsEnlarging():
                running.deadline.pause(asyncio.get_running_loop().time())  # others are enlarged before it
            case EnlargingBegan():
                now = asyncio.get_running_loop().time()
                running.deadline.resume(now)
                running.meter.begin(Stage.UPSCALING, now)
            case PartDone():
                self._progressed(running, message.part, message.parts)

    def _progressed(self, running: Running, step: int, total_steps: int) -> None:
        progress = running.meter.advance(step, total_steps, asyncio.get_running_loop().time())
        if progress is not None:
            if progress.stage is Stage.DENOISING:
                self._witness.step_done(running.job)
            self._publish_in_turn(running, ProgressMade(job_id=running.job.id, progress=progress))

    def _publish_in_turn(self, running: Running, event: Event) -> None:
        """Not before the state in which it happened."""
        if running.told is None:
            self._events.publish(event)
        else:  # a task that is done calls back too, soon, and in order
            running.told.add_done_callback(lambda _: self._events.publish(event))
