"""The queue inside the server."""

from danqing.queue.embedded import EmbeddedQueue, QueueRules
from tests.contracts.job_queue import JobQueueContract, numbered, taken


class TestEmbeddedQueue(JobQueueContract):
    implementation = EmbeddedQueue

    def queue_of(self, *, max_running_of_owner: int | None = None, max_passes: int = 2) -> EmbeddedQueue:
        return EmbeddedQueue(QueueRules(max_running_of_owner=max_running_of_owner, max_passes=max_passes))


async def test_its_length_is_the_number_of_waiting_jobs() -> None:
    # Given three jobs, one of them twice
    queue = EmbeddedQueue()
    for sequence in (1, 2, 3, 3):
        await queue.publish(numbered(sequence))
    assert len(queue) == 3
    # When one is withdrawn and one taken
    await queue.withdraw("job-2")
    await taken(queue, 1)
    # Then one is left
    assert len(queue) == 1
