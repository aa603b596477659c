"""What workers say of themselves."""

from dataclasses import replace

from danqing.core.types import DeviceStatus, ModelStatus, PoolStatus, WorkerState, WorkerStatus
from danqing.metrics.panel import MetricsPanel
from tests.unit.metrics.reading import families, value

MODEL = ModelStatus(
    id="tiny",
    placement="device",
    precision="native",
    dtype="bfloat16",
    attention="native",
    compiled=False,
    vae="float32",
    step_cache=True,
)
DEVICE = DeviceStatus(
    id="cuda:0",
    name="a GPU",
    kind="cuda",
    memory_allocated_bytes=10,
    memory_reserved_bytes=20,
    memory_total_bytes=80,
    models=("tiny",),
    loaded=(MODEL, replace(MODEL, id="other", on_device=False)),
    prompt_cache_hits=7,
    prompt_cache_misses=3,
)
WORKER = WorkerStatus(
    id="cuda-0",
    state=WorkerState.BUSY,
    pid=1,
    restarts=2,
    models=("tiny", "other"),
    device=DEVICE,
    busy_s=12.5,
    load_s=30.0,
)


async def page_of(pool: PoolStatus) -> bytes:
    panel = MetricsPanel(models=[])
    panel.watch_pool(lambda: pool)
    return await panel.page()


async def test_a_worker_and_its_device() -> None:
    page = await page_of(PoolStatus(workers=(WORKER,)))
    assert value(page, "danqing_workers", state="busy") == 1
    assert value(page, "danqing_workers", state="broken") == 0
    assert value(page, "danqing_worker_ready", worker="cuda-0") == 1
    assert value(page, "danqing_worker_restarts_total", worker="cuda-0") == 2
    assert value(page, "danqing_worker_device_busy_seconds_total", worker="cuda-0") == 12.5
    assert value(page, "danqing_worker_load_seconds", worker="cuda-0") == 30
    assert value(page, "danqing_worker_device_memory_bytes", worker="cuda-0", kind="reserved") == 20
    assert value(page, "danqing_worker_model_on_device", worker="cuda-0", model="tiny") == 1
    assert value(page, "danqing_worker_model_on_device", worker="cuda-0", model="other") == 0
    assert value(page, "danqing_worker_prompt_cache_hits_total", worker="cuda-0") == 7
    assert value(page, "danqing_worker_prompt_cache_misses_total", worker="cuda-0") == 3
    info = {"worker": "cuda-0", "device": "cuda:0", "kind": "cuda", "name": "a GPU"}
    assert value(page, "danqing_worker_device_info", **info) == 1


async def test_a_worker_that_has_not_said_anything_yet() -> None:
    page = await page_of(PoolStatus(workers=(WorkerStatus(**{**vars(WORKER), "device": None, "load_s": None}),)))
    assert value(page, "danqing_worker_restarts_total", worker="cuda-0") == 2
    assert value(page, "danqing_worker_load_seconds", worker="cuda-0") is None
    assert value(page, "danqing_worker_device_memory_bytes", worker="cuda-0", kind="total") is None


async def test_of_workers_elsewhere_only_their_number_is_told_for_their_machines_tell_the_rest() -> None:
    page = await page_of(PoolStatus(workers=(WORKER, WORKER), elsewhere=True))
    assert value(page, "danqing_workers", state="busy") == 2
    assert not {name for name in families(page) if name.startswith("danqing_worker_")}
