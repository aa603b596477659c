"""What every test of a dialect has; and which of them are of one process only."""

from collections.abc import AsyncIterator

import pytest

from tests.dialects.house import close_houses
from tests.dialects.sides import IS_SCALED

WAITS_FOR_NODES = "API processes take jobs also while no node is ready: they wait for one that comes"
LIVE_MEMORY = "which ends a client was told, and under which request ids, is in the memory of the process"
PICTURE_MEMORY = "pictures encoded lately are in the memory of the process"
HOST_MEMORY = "what a host's last hour was like is in the memory of the process"
COUNTS_CALLS = "counts the calls of a function that the shared parts' clients use too"
# Tests that cannot hold where requests go to two API processes in turn, and why.
ONE_PROCESS_ONLY = {
    "turbo/test_generate.py::test_no_model": WAITS_FOR_NODES,
    "zimage/test_generate.py::test_no_model": WAITS_FOR_NODES,
    "genserve/test_refusals.py::test_a_server_that_is_not_ready_takes_nothing": WAITS_FOR_NODES,
    "openai/test_errors.py::test_a_model_that_is_not_ready_and_a_full_queue": WAITS_FOR_NODES,
    "openai/test_generations.py::test_not_ready_as_documented": WAITS_FOR_NODES,
    "live/test_conversation.py::test_a_model_that_does_not_load_and_an_unknown_one_are_told": WAITS_FOR_NODES,
    "openai/test_generations.py::test_a_picture_by_address_is_encoded_once": PICTURE_MEMORY,
    "genserve/test_memory.py::test_bodies_are_parsed_outside_the_event_loop": COUNTS_CALLS,
    "studio/test_models.py::test_the_machine_remembers_and_tells_what_is_newer_than_what_is_known": HOST_MEMORY,
    "live/test_reconnect.py::test_a_running_job_goes_on_being_told_after_a_reconnect": LIVE_MEMORY,
    "live/test_reconnect.py::test_a_missed_end_is_told_once": LIVE_MEMORY,
    "live/test_reconnect.py::test_after_a_restart_of_the_server_ends_are_told_again": LIVE_MEMORY,
}


@pytest.fixture(autouse=True)
async def _houses_end() -> AsyncIterator[None]:  # pyright: ignore[reportUnusedFunction]
    yield
    await close_houses()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Passes those over that are of one process, where there are several."""
    if not IS_SCALED:
        return
    for item in items:
        name = item.nodeid.partition("[")[0].removeprefix("tests/dialects/")
        if (reason := ONE_PROCESS_ONLY.get(name)) is not None:
            item.add_marker(pytest.mark.skip(reason=reason))
