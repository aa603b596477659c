"""The page as a whole."""

from danqing import __version__
from danqing.core.events import ProgressMade
from danqing.core.types import Progress, Stage
from danqing.events.in_process import InProcessEventBus
from danqing.metrics.panel import MetricsPanel
from danqing.metrics.store_metrics import StoreMetrics
from danqing.metrics.text_format import CONTENT_TYPE
from tests.unit.metrics.reading import families, value


async def test_the_page_is_in_the_format_that_every_prometheus_reads() -> None:
    page = await MetricsPanel(models=["tiny"]).page()
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"
    assert value(page, "danqing_build_info", version=__version__) == 1
    assert "process_cpu_seconds_total" in families(page)
    # And it has nothing that nobody reads
    assert b"_created" not in page


async def test_names_have_units_and_every_figure_says_what_it_is() -> None:
    page = (await MetricsPanel(models=["tiny"]).page()).decode()
    helps = {line.split(" ", 3)[2]: line.split(" ", 3)[3] for line in page.splitlines() if line.startswith("# HELP ")}
    kinds = {line.split(" ")[2]: line.split(" ")[3] for line in page.splitlines() if line.startswith("# TYPE ")}
    for name, kind in kinds.items():
        assert helps[name].endswith("."), name
        assert name.endswith("_total") == (kind == "counter"), name
        assert not name.endswith(("_ms", "_milliseconds", "_mb", "_count", "_sum")), name


async def test_two_panels_know_nothing_of_each_other() -> None:
    one, other = MetricsPanel(models=["a"]), MetricsPanel(models=["a"])
    one.jobs.refused("queue_full", 1)
    assert value(await one.page(), "danqing_jobs_refused_total", code="queue_full") == 1
    assert value(await other.page(), "danqing_jobs_refused_total", code="queue_full") is None


async def test_dropped_events() -> None:
    panel = MetricsPanel(models=[])
    panel.watch_events(lambda: {"preview": 3, "progress": 1})
    assert value(await panel.page(), "danqing_events_dropped_total", kind="preview") == 3


async def test_the_databases_time_and_failures() -> None:
    panel = MetricsPanel(models=[])
    store: StoreMetrics = panel.store
    with store.timed("read"):
        pass
    try:
        with store.timed("write"):
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    page = await panel.page()
    assert value(page, "danqing_store_seconds_count", operation="read") == 1
    assert value(page, "danqing_store_seconds_count", operation="write") == 1
    assert value(page, "danqing_store_failures_total", operation="write") == 1
    assert value(page, "danqing_store_failures_total", operation="read") == 0


async def test_a_bus_tells_what_slow_watchers_missed() -> None:
    # Given a watcher who does not read
    bus = InProcessEventBus(buffer_size=2)
    async with bus.watch("j"):
        for step in range(1, 6):
            bus.publish(ProgressMade(job_id="j", progress=Progress(stage=Stage.DENOISING, step=step, total_steps=5)))
    # Then what he is not told is counted
    assert bus.dropped == {"progress": 3, "preview": 0}


async def test_what_waits_for_the_broker() -> None:
    panel = MetricsPanel(models=[])
    assert value(await panel.page(), "danqing_unsent_messages") == 0
    panel.watch_unsent(lambda: 7, lambda: 31.5)
    page = await panel.page()
    assert value(page, "danqing_unsent_messages") == 7
    assert value(page, "danqing_unsent_messages_oldest_age_seconds") == 31.5
