"""For how long something was busy."""

from danqing.workers.busy_meter import BusyMeter


def test_only_busy_time_counts_also_while_it_lasts() -> None:
    meter = BusyMeter()
    assert meter.seconds(100.0) == 0
    meter.tell(True, 100.0)
    assert meter.seconds(103.0) == 3
    meter.tell(True, 104.0)  # told again, it does not begin anew
    meter.tell(False, 105.0)
    assert meter.seconds(200.0) == 5
    meter.tell(False, 205.0)
    meter.tell(True, 210.0)
    meter.tell(False, 211.0)
    assert meter.seconds(300.0) == 6
