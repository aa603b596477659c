"""What a worker's processes make of its state."""

from danqing.core.types import JobFailure, WorkerState
from danqing.workers.health import Health

NO_MEMORY = JobFailure(code="model_load_failure", message="No memory.")
LOST = JobFailure(code="worker_lost", message="Lost.")


def a_health() -> Health:
    return Health(load_failures_until_broken=2)


def test_a_worker_starts_works_and_is_restarted() -> None:
    # Given a worker whose first process loads
    health = a_health()
    health.process_began()
    assert health.state(busy=False) is WorkerState.STARTING
    assert health.loading_in_silence
    # When it has loaded
    health.became_ready(10.0)
    assert health.ready
    assert not health.loading_in_silence
    assert [health.state(busy=busy) for busy in (False, True)] == [WorkerState.READY, WorkerState.BUSY]
    # Then it counts as away, and not as new, once the process is gone
    assert health.process_ended(25.0) == 15.0
    health.lost(LOST)
    assert (health.state(busy=False), health.failure) == (WorkerState.RESTARTING, LOST)
    # And what happened is forgotten when the next one is ready
    health.process_began()
    health.became_ready(30.0)
    assert (health.state(busy=False), health.failure) == (WorkerState.READY, None)


def test_load_failures_in_a_row_break_a_worker_until_it_is_ready_again() -> None:
    health = a_health()
    # Given a process that says why it cannot load, and ends
    health.process_began()
    health.load_failed(NO_MEMORY)
    assert not health.loading_in_silence
    assert health.process_ended(5.0) == 0.0
    health.lost(LOST)
    assert (health.broken, health.failure) == (False, NO_MEMORY)
    # When the next one dies without a word
    health.process_began()
    assert health.loading_in_silence
    health.load_failed(NO_MEMORY)
    # Then the worker is broken
    assert (health.load_failures, health.state(busy=False)) == (2, WorkerState.BROKEN)
    # And no longer when one has loaded
    health.became_ready(9.0)
    assert (health.load_failures, health.state(busy=False)) == (0, WorkerState.READY)


def test_a_worker_that_is_given_up_is_broken_for_good() -> None:
    health = a_health()
    health.give_up()
    health.became_ready(1.0)
    assert health.state(busy=False) is WorkerState.BROKEN
