"""Answers have the keys, the order and, where it is the same case, the values of the seed document."""

from dataclasses import replace
from datetime import timedelta

from danqing.core.capabilities import ModelCard
from danqing.core.states import JobState
from danqing.core.types import Attempt, DeviceStatus, Job, Mode, ModelStatus, PoolStatus, WorkerState, WorkerStatus
from danqing.dialects.genserve.echo import Echo
from danqing.dialects.genserve.errors import CORE_ERRORS, TIMED_OUT
from danqing.dialects.genserve.translate_out import FEATURES, from_error, from_job, from_models, from_status, gpu_of
from tests.dialects.genserve.parts import MODES, a_model
from tests.dialects.genserve.seed_document import example, table
from tests.fakes.domain import NOW, a_job
from tests.fakes.studio_parts import FixedCatalogue

SUCCESS = example("#### 响应格式")
FAILURE = example("#### 错误响应")
STATUS = example("### 3. 服务状态")
MODELS = example("### 4. 模型列表")
ERROR_TABLE = table("## 错误代码")
GPU = DeviceStatus(id="cuda:0", name="a GPU", kind="cuda")


def a_worker(number: int = 0, state: WorkerState = WorkerState.READY, **changes: object) -> WorkerStatus:
    fields = {"pid": 100 + number, "restarts": 0, "models": ("flux1-dev",), "device": GPU} | changes
    return WorkerStatus(id=f"cuda-{number}", state=state, **fields)  # pyright: ignore[reportArgumentType]


def a_completed_job() -> Job:
    began = NOW + timedelta(minutes=1)
    return replace(
        a_job(id="uuid-string"),
        state=JobState.COMPLETED,
        started_at=began,
        finished_at=began + timedelta(seconds=15.23),
        attempts=(Attempt(number=1, worker="cuda-0", started_at=began),),
    )


def flux() -> ModelCard:
    return replace(a_model(MODES | {Mode.CONTROLNET}), id="flux1-dev")


def test_the_answer_with_a_picture() -> None:
    pool = PoolStatus(workers=(a_worker(1, device=None), a_worker(0)))
    job = a_completed_job()

    answer = from_job(
        job, echo=Echo(), image_base64="base64_encoded_generated_image", gpu_id=gpu_of(job, pool)
    ).model_dump()

    assert answer == SUCCESS
    assert list(answer) == list(SUCCESS)


def test_the_answer_with_an_error() -> None:
    answer = from_error("错误描述", echo=Echo(task_id="uuid-string")).model_dump()

    assert answer == FAILURE
    assert list(answer) == list(FAILURE)


def test_the_device_of_a_worker_that_is_gone_is_not_made_up() -> None:
    assert gpu_of(a_completed_job(), PoolStatus(workers=(a_worker(3),))) is None
    assert gpu_of(a_job(), PoolStatus(workers=(a_worker(0),))) is None


def test_the_status() -> None:
    # Given eight workers, three of which were started again once
    workers = tuple(a_worker(number, restarts=int(number < 3)) for number in range(8))

    answer = from_status(PoolStatus(workers=workers), waiting=0, draining=False).model_dump()

    # Then it has what is documented, and last what is ours
    assert list(answer) == [*STATUS, "workers"]
    assert answer | {"workers": []} == STATUS | {"workers": []}


def test_the_status_tells_what_is_in_force_on_each_worker() -> None:
    # Given a worker with two models, one of which waits in the host's memory, and one that has told nothing yet
    fast = ModelStatus(
        id="flux1-dev",
        placement="whole",
        precision="native",
        dtype="bfloat16",
        attention="_flash_3",
        compiled=True,
        vae="channels_last, compiled",
        step_cache=True,
    )
    device = DeviceStatus(
        id="cuda:0",
        name="NVIDIA H100",
        kind="cuda",
        loaded=(fast, replace(fast, id="tiny", on_device=False)),
        prompt_cache_bytes=64,
    )
    pool = PoolStatus(
        workers=(replace(a_worker(0), device=device), replace(a_worker(1, WorkerState.STARTING), device=None))
    )

    first, second = from_status(pool, waiting=0, draining=False).model_dump()["workers"]

    assert (first["device"], first["device_name"], first["prompt_cache_bytes"]) == ("cuda:0", "NVIDIA H100", 64)
    assert first["models"][0] == {
        "model_id": "flux1-dev",
        "on_device": True,
        "placement": "whole",
        "precision": "native",
        "dtype": "bfloat16",
        "attention": "_flash_3",
        "compiled": True,
        "vae": "channels_last, compiled",
        "step_cache": True,
    }
    assert [model["on_device"] for model in first["models"]] == [True, False]
    assert (second["state"], second["device"], second["models"]) == ("starting", None, [])


def test_the_status_counts_processes_as_they_are() -> None:
    workers = (
        a_worker(0, WorkerState.BUSY),
        a_worker(1, WorkerState.STARTING),
        a_worker(2, WorkerState.STARTING, pid=None),  # its process is not there yet
        a_worker(3, WorkerState.RESTARTING, restarts=2),
        a_worker(4, WorkerState.BROKEN, restarts=3),
    )

    answer = from_status(PoolStatus(workers=workers), waiting=7, draining=False)

    assert answer.concurrent_manager.model_dump() == {
        "alive_processes": 2,
        "dead_processes": 2,
        "total_restarts": 5,
        "global_queue_size": 7,
    }


def test_the_status_words() -> None:
    def word(*states: WorkerState, draining: bool = False) -> str:
        pool = PoolStatus(workers=tuple(a_worker(number, state) for number, state in enumerate(states)))
        return from_status(pool, waiting=0, draining=draining).status

    assert word(WorkerState.STARTING) == "starting"
    assert word(WorkerState.STARTING, WorkerState.BUSY) == "running"
    assert word(WorkerState.RESTARTING, WorkerState.BROKEN) == "running"
    assert word(WorkerState.BROKEN) == "failed"
    assert word(WorkerState.BROKEN, WorkerState.STARTING) == "starting"
    assert word(WorkerState.READY, draining=True) == "draining"


def test_the_models() -> None:
    pool = PoolStatus(workers=tuple(a_worker(number) for number in range(8)))

    entries = [entry.model_dump() for entry in from_models(FixedCatalogue(flux()), pool)]

    assert entries == MODELS
    assert list(entries[0]) == list(MODELS[0])


def test_a_model_that_the_default_name_stands_for_has_two_entries() -> None:
    # Given a server of another model, one of whose two workers is away
    pool = PoolStatus(
        workers=(a_worker(0, models=("tiny",)), a_worker(1, WorkerState.RESTARTING, models=("tiny",)), a_worker(2))
    )

    alias, own = from_models(FixedCatalogue(a_model(), aliases={"flux1-dev": "default"}), pool)

    assert (alias.model_id, own.model_id) == ("flux1-dev", "tiny")
    assert "tiny" in alias.description
    for entry in (alias, own):
        assert (entry.total_gpu_processes, entry.available_gpu_processes) == (2, 1)
        assert entry.supported_features == ["text-to-image", "image-to-image", "fill"]


def test_a_default_name_that_stands_for_another_model_in_some_modes_can_what_all_of_these_can() -> None:
    # Given a default model without two of the modes, one that has one of them, one that nobody comes to by that name,
    # and workers, of which one has both that are meant and one only the last
    usual = a_model(frozenset({Mode.TEXT2IMG}))
    filling = replace(a_model(frozenset({Mode.TEXT2IMG, Mode.FILL})), id="filling", title="A filling model")
    other = replace(a_model(frozenset({Mode.FILL})), id="third")
    pool = PoolStatus(
        workers=(
            a_worker(0, models=("tiny", "filling")),
            a_worker(1, WorkerState.STARTING, models=("filling",)),
            a_worker(2, models=("third",)),
        )
    )

    alias = from_models(FixedCatalogue(usual, filling, other, aliases={"flux1-dev": "default"}), pool)[0]

    assert alias.model_id == "flux1-dev"
    assert alias.supported_features == ["text-to-image", "fill"]
    assert alias.description.startswith(f"Another name of tiny: {usual.title} answers; for fill of filling: ")
    assert "third" not in alias.description
    assert (alias.total_gpu_processes, alias.available_gpu_processes) == (2, 1)


def test_without_an_alias_there_is_one_entry() -> None:
    assert [entry.model_id for entry in from_models(FixedCatalogue(a_model()), PoolStatus())] == ["tiny"]


def test_every_documented_mode_has_a_feature() -> None:
    documented = MODELS[0]["supported_features"]

    assert list(FEATURES.values()) == documented


def test_the_documented_codes_have_the_documented_words() -> None:
    words = dict(CORE_ERRORS.values())

    assert {int(code): text for code, text, _ in ERROR_TABLE} == {code: words[code] for code in (400, 503, 500, 408)}
    assert words[408] == TIMED_OUT
