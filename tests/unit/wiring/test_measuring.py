"""What happens to jobs in a server is counted, told on a port of its own, and traced where that is wanted."""

import asyncio
import re
import socket
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from danqing.config import InvalidSettings, Settings
from danqing.core.errors import UnknownModel
from danqing.core.orders import Order
from danqing.core.submitting import Join, SubmitKey
from danqing.core.types import ArtifactKind, Job, RequestDraft
from danqing.http.listeners import CannotListen
from danqing.tracing.traces import Traces
from danqing.wiring import open_runtime
from danqing.wiring.measuring import Measuring
from danqing.wiring.runtime import Runtime
from tests.services.ports import free_port
from tests.unit.metrics.reading import value
from tests.unit.wiring.test_runtime import settings, zoo_engine
from tests.zoo.engines import STEPS, Zoo
from tests.zoo.house import DEADLINE_S, until_progress


def an_order(prompt: str, **changes: object) -> Order:
    return Order(draft=RequestDraft(prompt=prompt, width=64, height=64, seed=1, **changes))  # type: ignore[arg-type]


async def made(runtime: Runtime, prompt: str, **changes: object) -> Job:
    return await runtime.studio.wait((await runtime.studio.submit(an_order(prompt, **changes))).id)


async def test_every_way_that_a_job_can_go_is_counted(tmp_path: Path) -> None:
    async with open_runtime(settings(tmp_path), engine=zoo_engine(tmp_path)) as runtime:
        await runtime.until_ready()
        studio, panel = runtime.studio, runtime.measuring.panel
        # When a job is made, another with an enlarged copy, one more after its first worker died
        await made(runtime, "a tea pot")
        await made(runtime, "a tea pot", further=(ArtifactKind.UPSCALED,))
        await made(runtime, "dies once")
        # And an equal one joins, one is repeated, one is refused, one fails, and one is cancelled in mid-step
        await studio.submit(replace(an_order("a tea pot"), join=Join.ALSO_DONE))
        key = SubmitKey(text="k", digest="0" * 64)
        for _ in range(2):
            await studio.wait((await studio.submit(an_order("repeated"), key=key)).id)
        with pytest.raises(UnknownModel):
            await studio.submit(an_order("a tea pot", model="nobodys"))
        await made(runtime, "fails")
        cancelled = await studio.submit(an_order("waits at the gate"))
        await until_progress(studio, cancelled.id)
        await studio.cancel(cancelled.id)
        await made(runtime, "the device is free again")
        page = await panel.page()

    # Then each is told
    def sample(name: str, **labels: str) -> float | None:
        return value(page, f"danqing_{name}", model="sample", **labels)

    assert sample("jobs_accepted_total", mode="text2img") == 7
    assert sample("jobs_ended_total", mode="text2img", state="completed") == 5
    assert sample("jobs_ended_total", mode="text2img", state="failed") == 1
    assert sample("jobs_ended_total", mode="text2img", state="cancelled") == 1
    assert sample("jobs_joined_total", reason="equal") == 1
    assert sample("jobs_joined_total", reason="repeated") == 1
    assert value(page, "danqing_jobs_refused_total", code="unknown_model") == 1
    assert sample("attempts_failed_total", code="worker_lost", again="true") == 1
    assert sample("attempts_failed_total", code="engine_failure", again="false") == 1
    assert value(page, "danqing_attempts_dropped_total") == 1
    assert sample("pictures_total", kind="original") == 5
    assert sample("pictures_total", kind="upscaled") == 1
    assert sample("job_stage_seconds_count", stage="denoise") == 5
    assert sample("job_stage_seconds_count", stage="upscale") == 1
    assert sample("job_stage_seconds_count", stage="queue") == 7
    assert sample("job_seconds_count") == 5
    assert (sample("steps_total") or 0) >= 5 * STEPS
    assert (sample("batch_jobs_count") or 0) >= 7
    # And what the store and the workers say now
    assert value(page, "danqing_jobs", state="completed") == 5
    assert sample("queue_jobs") == 0
    assert value(page, "danqing_worker_restarts_total", worker="cpu") == 1
    assert (value(page, "danqing_worker_device_busy_seconds_total", worker="cpu") or 0) > 0
    assert (value(page, "danqing_worker_load_seconds", worker="cpu") or 0) > 0
    assert (value(page, "danqing_store_seconds_count", operation="write") or 0) > 0
    assert (value(page, "danqing_store_seconds_count", operation="read") or 0) > 0


async def test_what_waits_shows_with_its_age(tmp_path: Path) -> None:
    async with open_runtime(settings(tmp_path), engine=zoo_engine(tmp_path)) as runtime:
        await runtime.until_ready()
        # Given a job that holds the device, and two that wait
        running = await runtime.studio.submit(an_order("waits at the gate"))
        await until_progress(runtime.studio, running.id)
        waiting = [await runtime.studio.submit(an_order(f"{number}")) for number in range(2)]
        page = await runtime.measuring.panel.page()
        # Then they are told, and for how long the older one has waited
        assert value(page, "danqing_queue_jobs", model="sample") == 2
        assert (value(page, "danqing_queue_oldest_age_seconds", model="sample") or 0) > 0
        assert value(page, "danqing_workers", state="busy") == 1
        Zoo(folder=tmp_path).open_gate("gate")
        for job in waiting:
            await runtime.studio.wait(job.id)


async def test_a_port_of_its_own_is_open_while_the_server_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = settings(tmp_path, metrics_port=0)
    async with open_runtime(wanted, engine=zoo_engine(tmp_path)):
        (url,) = re.findall(r"url=(http://127\.0\.0\.1:\d+)", _plain(capsys.readouterr().out))
        async with httpx2.AsyncClient(timeout=DEADLINE_S) as client:
            assert b"danqing_build_info" in (await client.get(f"{url}/metrics")).content
    async with httpx2.AsyncClient(timeout=DEADLINE_S) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(f"{url}/metrics")


async def test_a_port_that_somebody_has_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(CannotListen, match="already in use"):
            async with open_runtime(settings(tmp_path, metrics_port=taken.getsockname()[1])):
                pass


async def test_a_server_that_takes_over_gets_the_port_once_the_one_before_it_is_gone() -> None:
    # Given a server that has the port
    port = free_port()
    wanted = Settings.model_validate({"metrics_port": port})
    before, after = Measuring.of(wanted, ["before"]), Measuring.of(wanted, ["after"])

    async def whose() -> str:
        async with httpx2.AsyncClient(timeout=DEADLINE_S) as client:
            page = (await client.get(f"http://127.0.0.1:{port}/metrics")).content
        return "before" if b'model="before"' in page else "after"

    async with AsyncExitStack() as first, AsyncExitStack() as second:
        await first.enter_async_context(before.at_work())
        # When another begins that waits for its end, and that ends
        await second.enter_async_context(after.at_work(patient=True))
        assert await whose() == "before"
        await first.aclose()
        # Then the other has it
        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        while True:
            with suppress(httpx2.TransportError):
                if await whose() == "after":
                    break
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)


async def test_a_node_tells_its_workers_and_leaves_the_queue_to_others(tmp_path: Path) -> None:
    measuring = Measuring.of(Settings(), ["sample"])
    async with open_runtime(settings(tmp_path), engine=zoo_engine(tmp_path)) as runtime:
        measuring.look_at(pool=runtime.studio.pool_status)
        page = await measuring.panel.page()
    assert value(page, "danqing_worker_restarts_total", worker="cpu") == 0
    assert b"danqing_queue_jobs" not in page


async def test_a_job_is_traced_from_its_submit_to_its_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = InMemorySpanExporter()
    monkeypatch.setattr("danqing.tracing.traces.Traces", lambda: Traces(sent))
    async with open_runtime(settings(tmp_path, otel=True), engine=zoo_engine(tmp_path)) as runtime:
        await runtime.until_ready()
        job = await made(runtime, "a tea pot", further=(ArtifactKind.UPSCALED,))
    spans = [span for span in sent.get_finished_spans() if span.context]
    assert {span.name for span in spans} == {"submit", "queue", "attempt", "denoise", "finish", "upscale"}
    assert {f"{span.context.trace_id:032x}" for span in spans if span.context} == {job.id.replace("-", "")}


async def test_traces_that_cannot_be_made_are_told_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "danqing.tracing.traces", None)
    with pytest.raises(InvalidSettings, match=r"-e '\.\[otel\]'"):
        async with open_runtime(settings(tmp_path, otel=True)):
            pass


def _plain(text: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
