"""What a worker process does before anything else, where a test wants that. Named by a `SetupFactory`."""

from danqing.workers import outbox


def wait_for_room(seconds: float) -> None:
    """No preview is dropped before the pipe was full for so long."""
    outbox.PREVIEW_PATIENCE_S = seconds
