"""When a worker process counts as hung."""

from danqing.workers.hang_watch import HangWatch
from danqing.workers.spec import WorkerRules

RULES = WorkerRules(
    heartbeat_timeout_s=10,
    step_timeout_s=60,
    step_factor=20,
    task_timeout_s=300,
    overdue_grace_s=15,
    load_timeout_s=1000,
)


def after_a_job(*, step_s: float = 1) -> HangWatch:
    """A process that has made a picture from time 0 on, and is idle."""
    watch = HangWatch(RULES, now=0)
    watch.device_busy(0)
    for step in range(1, 11):
        watch.step_done(step * step_s, last=step == 10)
    watch.device_free()
    return watch


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
    watch = after_a_job()
    watch.device_busy(99)
    watch.step_done(100, last=False)
    watch.heard(165)
    assert watch.verdict(160) is None
    assert watch.verdict(161) == "stuck"


def test_before_a_jobs_first_step_something_may_be_loaded_as_long_as_the_job_may_take() -> None:
    watch = after_a_job()
    watch.device_busy(100)
    watch.heard(420)
    assert watch.verdict(415) is None
    assert watch.verdict(416) == "stuck"


def test_jobs_made_together_have_the_time_of_all_of_them() -> None:
    watch = HangWatch(RULES, now=0)
    watch.device_busy(0, jobs=3)
    watch.heard(920)
    assert watch.verdict(915) is None
    assert watch.verdict(916) == "stuck"


def test_a_step_and_the_end_of_the_job_start_the_time_anew() -> None:
    watch = after_a_job()
    watch.device_busy(100)
    watch.step_done(150, last=False)
    watch.heard(215)
    assert watch.verdict(209) is None
    assert watch.verdict(211) == "stuck"
    watch.device_free()
    assert watch.verdict(225) is None


def test_the_first_steps_of_a_process_may_take_as_long_as_a_job() -> None:
    # Given a process that has not made a step yet
    watch = HangWatch(RULES, now=0)
    watch.device_busy(0)
    watch.heard(320)
    assert watch.verdict(315) is None
    assert watch.verdict(316) == "stuck"
    # When the first is done, which compiled something, nobody knows yet what the next one takes
    watch.step_done(200, last=False)
    watch.heard(520)
    assert watch.verdict(515) is None
    assert watch.verdict(516) == "stuck"
    # Then the second one tells
    watch.step_done(201, last=False)
    watch.heard(262)
    assert watch.verdict(261) is None
    assert watch.verdict(262) == "stuck"


def test_what_lies_between_two_tries_at_a_job_is_no_step() -> None:
    # Given a job whose decoding failed after a long time, and a first step of the second try
    watch = after_a_job()
    watch.device_busy(100)
    for step in range(1, 11):
        watch.step_done(100 + step, last=step == 10)
    watch.step_done(310, last=False)
    watch.heard(371)
    # Then steps count as usual again, with their usual time unchanged
    assert watch.verdict(370) is None
    assert watch.verdict(371) == "stuck"


def test_decoding_may_take_as_long_as_a_job() -> None:
    # Given a worker whose steps take a second
    watch = after_a_job()
    # When a later job has made its last step
    watch.device_busy(100)
    watch.step_done(101, last=True)
    watch.heard(420)
    # Then it may decode for long, but not for ever
    assert watch.verdict(416) is None
    assert watch.verdict(417) == "stuck"
    # And the next job is watched by its steps again
    watch.device_free()
    watch.device_busy(499)
    watch.step_done(500, last=False)
    watch.heard(561)
    assert watch.verdict(561) == "stuck"


def test_a_worker_with_slow_steps_gets_more_time() -> None:
    # Given a worker whose steps take ten seconds
    watch = after_a_job(step_s=10)
    # Then it is stuck after twenty times that
    watch.device_busy(90)
    watch.step_done(100, last=False)
    watch.heard(305)
    assert watch.verdict(299) is None
    assert watch.verdict(301) == "stuck"


def test_a_forgiven_process_starts_anew() -> None:
    # Given a process that would count as silent and stuck, and one that would count as loading for too long
    watch, loading = after_a_job(), HangWatch(RULES, now=0)
    watch.heard(0)
    watch.device_busy(0)
    watch.step_done(1, last=False)
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
