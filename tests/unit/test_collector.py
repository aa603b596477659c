"""When cycles are looked for, in a process of its own: what is kept apart would stay so for all tests."""

import subprocess
import sys

PROGRAM = """
import gc
from danqing import collector

with collector.paused():
    assert not gc.isenabled()
    with collector.paused():
        pass
    assert not gc.isenabled(), "the inner one ended the outer one"
    before = len(gc.get_objects())
    collector.keep_apart()
    assert gc.get_freeze_count() >= before
assert gc.isenabled()

try:
    with collector.paused():
        raise OSError
except OSError:
    assert gc.isenabled()

with collector.paused():
    collector.go_on()
    assert gc.isenabled()

with collector.paused():
    cycle = []
    cycle.append(cycle)
    del cycle
    collector.spare()
    assert gc.isenabled()
assert gc.isenabled() and len(gc.get_objects()) < 1000 < gc.get_threshold()[0]
gc.disable()
with collector.paused():
    pass
assert not gc.isenabled(), "who had it off gets it back as it was"
"""


def test_it_is_off_while_a_process_starts_and_on_afterwards() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
