"""How many jobs wait of each model, and since when the oldest."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from danqing.core.shared_store import Waiting
from danqing.queue.ages import WaitingAges
from danqing.queue.embedded import EmbeddedQueue
from tests.fakes.domain import NOW, a_job, a_request


def at(second: int) -> datetime:
    return NOW + timedelta(seconds=second)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 60), st.booleans()), max_size=300))
def test_it_knows_what_a_list_would_know(moves: list[tuple[str, int, bool]]) -> None:
    ages = WaitingAges()
    there: dict[tuple[str, str], int] = {}
    for model, second, comes in moves:
        job_id = f"{second}"
        if comes:
            ages.add(model, job_id, NOW + timedelta(seconds=second))
            there[model, job_id] = second
        else:
            ages.remove(model, job_id)
            there.pop((model, job_id), None)
        seconds = {m: [s for (other, _), s in there.items() if other == m] for m, _ in there}
        assert ages.all() == {m: Waiting(jobs=len(s), oldest=at(min(s))) for m, s in seconds.items()}


async def test_a_queue_tells_what_waits_in_it() -> None:
    # Given three jobs of two models, the newest of which was published first
    queue = EmbeddedQueue()
    newest = a_job(created_at=NOW + timedelta(seconds=9), sequence=9)
    oldest = a_job(created_at=NOW, sequence=1)
    other = a_job(created_at=NOW, request=a_request(model="other"), sequence=2)
    for job in (newest, oldest, other):
        await queue.publish(job)
    assert await queue.waiting() == {"tiny": Waiting(jobs=2, oldest=NOW), "other": Waiting(jobs=1, oldest=NOW)}
    # When one is taken, and one withdrawn
    assert await queue.take(["tiny"]) == oldest.id
    await queue.withdraw(other.id)
    # Then they wait no more
    assert await queue.waiting() == {"tiny": Waiting(jobs=1, oldest=newest.created_at)}
