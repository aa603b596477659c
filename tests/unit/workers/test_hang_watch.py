"""When a worker process counts as hung."""

from danqing.workers.hang_watch import HangWatch
from danqing.workers.spec import WorkerRules

RULES = WorkerRules(heartbeat_timeout_s=10, step_timeout_s=60, step_factor=20, load_timeout_s=1000)


def test_loading_may_be_silent_for_long_but_not_for_ever() -> None:
    watch = HangWatch(RULES, now=0)
    assert watch.verdict(999) is None
    assert watch.verdict(1001) == "loading"


def test_silence_is_noticed_and_forgotten_when_it_ends() -> None:
    watch = HangWatch(RULES, now=0)
    watch.heard(100)
    assert watch.verdict(110) is None
    assert watch.verdict(111) == "silent"
    watch.heard(111)
    assert watch.verdict(112) is None


def test_a_device_without_a_step_is_stuck_even_if_the_process_talks() -> None:
    watch = HangWatch(RULES, now=0)
    watch.device_busy(100)
    watch.heard(165)
    assert watch.verdict(160) is None
    assert watch.verdict(161) == "stuck"


def test_a_step_and_the_end_of_the_job_start_the_time_anew() -> None:
    watch = HangWatch(RULES, now=0)
    watch.device_busy(0)
    watch.step_done(50)
    watch.heard(200)
    assert watch.verdict(109) is None
    watch.device_free()
    assert watch.verdict(205) is None


def test_a_worker_with_slow_steps_gets_more_time() -> None:
    # Given a worker whose steps take ten seconds
    watch = HangWatch(RULES, now=0)
    watch.device_busy(0)
    for step in range(1, 11):
        watch.step_done(step * 10)
    # Then it is stuck after twenty times that
    watch.heard(305)
    assert watch.verdict(299) is None
    assert watch.verdict(301) == "stuck"


def test_a_forgiven_process_starts_anew() -> None:
    # Given a process that would count as silent and stuck, and one that would count as loading for too long
    watch, loading = HangWatch(RULES, now=0), HangWatch(RULES, now=0)
    watch.heard(0)
    watch.device_busy(0)
    # When both are forgiven
    watch.forgive(2000)
    loading.forgive(2000)
    # Then each has its whole time again, and no more
    assert watch.verdict(2010) is None
    assert watch.verdict(2011) == "silent"
    watch.heard(2061)
    assert watch.verdict(2061) == "stuck"
    assert loading.verdict(3000) is None
    assert loading.verdict(3001) == "loading"
