"""How long a dead worker waits."""

from danqing.workers.backoff import Backoff
from danqing.workers.spec import WorkerRules

RULES = WorkerRules(first_backoff_s=0.2, max_backoff_s=1.0, stable_s=60)


def test_the_pause_doubles_up_to_the_limit() -> None:
    backoff = Backoff(RULES)
    assert [backoff.after(1) for _ in range(5)] == [0.2, 0.4, 0.8, 1.0, 1.0]


def test_a_stable_process_starts_it_anew() -> None:
    backoff = Backoff(RULES)
    assert [backoff.after(0), backoff.after(59), backoff.after(60), backoff.after(0)] == [0.2, 0.4, 0.2, 0.4]
