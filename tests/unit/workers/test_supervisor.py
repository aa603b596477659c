"""The lives of worker processes: loading, breaking, dying with their server, ending on demand."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from danqing.core.states import JobState
from danqing.core.types import JobFailure, WorkerState
from danqing.core.upscaling import UPSCALER
from danqing.workers.factory import EngineFactory
from danqing.workers.hands import JobAttempt
from danqing.workers.messages import JobNews
from danqing.workers.spec import WorkerRules, WorkerSpec
from danqing.workers.supervisor import Supervisor
from tests.zoo.engines import Zoo
from tests.zoo.house import DEADLINE_S, FAST, a_house, a_spec, until

ROOT = Path(__file__).parents[3]


class Nobody:
    """A listener without jobs."""

    def job_told(self, message: JobNews) -> None:
        raise AssertionError(message)

    def jobs_began(self, attempts: Sequence[JobAttempt]) -> None:
        raise AssertionError(attempts)

    def jobs_lost(self, attempts: Sequence[JobAttempt], failure: JobFailure) -> None:
        raise AssertionError(attempts)

    def stop_asked(self, job_id: str) -> None:
        raise AssertionError(job_id)

    def time_passed(self, now: float, stood_still_s: float) -> None:
        pass


@asynccontextmanager
async def supervised(*specs: WorkerSpec, rules: WorkerRules = FAST) -> AsyncIterator[Supervisor]:
    """A supervisor without a dispatcher."""
    supervisor = Supervisor(specs, rules=rules)
    supervisor.start(Nobody())
    try:
        yield supervisor
    finally:
        await supervisor.stop(deadline_s=0)


def state(supervisor: Supervisor) -> WorkerState:
    return supervisor.status().workers[0].state


def accepts(supervisor: Supervisor) -> bool:
    """What it says for each submit is what its status says."""
    status = supervisor.status()
    assert supervisor.takes_jobs(when_loaded=False) is status.accepts_jobs
    assert supervisor.takes_jobs(when_loaded=True) is (status.accepts_jobs or status.is_coming_up)
    return status.accepts_jobs


async def test_workers_come_up_in_the_background(tmp_path: Path) -> None:
    # When a supervisor is started, it answers before the worker is there
    async with supervised(a_spec(tmp_path, Zoo(folder=tmp_path))) as supervisor:
        assert state(supervisor) is WorkerState.STARTING
        assert not accepts(supervisor)
        assert (supervisor.status().workers[0].device, supervisor.status().workers[0].device_id) == (None, "cpu")
        # Then the worker becomes ready
        await until(lambda: state(supervisor) is WorkerState.READY, "ready")
        status = supervisor.status().workers[0]
        assert status.device is not None
        assert (status.device.name, status.models, status.restarts, status.failure) == (
            "zoo",
            ("tiny", UPSCALER),
            0,
            None,
        )


async def test_a_process_without_its_thread_is_ended_and_another_one_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a system that once has no thread left
    start, ended = threading.Thread.start, list[BaseProcess]()

    def fails_once(thread: threading.Thread) -> None:
        if thread.name == "tend-w1" and not ended:
            ended.extend(multiprocessing.active_children())
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fails_once)
    async with supervised(a_spec(tmp_path, Zoo(folder=tmp_path))) as supervisor:
        # Then the worker becomes ready in its second process, and the first one is gone
        await until(lambda: state(supervisor) is WorkerState.READY, "ready")
        assert supervisor.status().workers[0].restarts == 1
        (first,) = ended
        first.join(DEADLINE_S)
        assert first.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("load", "message"),
    [("fails", "The model's files are missing."), ("crashes", "The model could not be loaded.")],
)
async def test_a_model_that_cannot_be_loaded_breaks_the_worker(tmp_path: Path, load: str, message: str) -> None:
    async with supervised(a_spec(tmp_path, Zoo(folder=tmp_path, load=load))) as supervisor:
        # When loading has failed three times
        await until(lambda: state(supervisor) is WorkerState.BROKEN, "broken")
        await until(lambda: supervisor.status().workers[0].pid is None, "the last process is gone")
        # Then the next try is a long way off, and the reason is kept, without a library's words
        status = supervisor.status().workers[0]
        assert status.restarts == 2
        assert status.failure is not None
        assert (status.failure.code, status.failure.message) == ("model_load_failure", message)
        assert not accepts(supervisor)


async def test_a_broken_worker_is_tried_until_its_model_loads(tmp_path: Path) -> None:
    # Given a worker that breaks, since the device's memory is held by somebody else for a while
    zoo, rules = Zoo(folder=tmp_path, load="fails four times"), replace(FAST, max_backoff_s=0.05)
    async with supervised(a_spec(tmp_path, zoo), rules=rules) as supervisor:
        await until(lambda: state(supervisor) is WorkerState.BROKEN, "broken")
        # When the memory is free again
        await until(lambda: state(supervisor) is WorkerState.READY, "ready")
        # Then it took a fifth process, and the failure is forgotten
        status = supervisor.status().workers[0]
        assert (status.restarts, status.failure) == (4, None)
        assert accepts(supervisor)


@pytest.mark.parametrize("how", ["exits on import", "dies"])
async def test_processes_that_die_while_loading_break_the_worker(tmp_path: Path, how: str) -> None:
    # Given an engine that ends its process without a word
    spec = a_spec(tmp_path, Zoo(folder=tmp_path, load="dies"))
    if how == "exits on import":
        spec = replace(spec, engine=EngineFactory(target="tests.zoo.exits_on_import:build", argument=None))
    async with supervised(spec) as supervisor:
        # When that has happened three times
        await until(lambda: state(supervisor) is WorkerState.BROKEN, "broken")
        # Then the pool says why, and takes no jobs
        status = supervisor.status()
        assert not accepts(supervisor)
        assert status.workers[0].restarts == 2
        assert status.workers[0].failure is not None
        assert status.workers[0].failure.code == "model_load_failure"
        assert status.workers[0].failure.message == "The process ended while loading the model."


async def test_a_worker_that_was_ready_can_break_too(tmp_path: Path) -> None:
    # Given a worker whose model loads in its first process and in no other
    async with supervised(a_spec(tmp_path, Zoo(folder=tmp_path, load="dies but once"))) as supervisor:
        await until(lambda: state(supervisor) is WorkerState.READY, "ready")
        pid = supervisor.status().workers[0].pid
        assert pid is not None
        # When that process is gone
        os.kill(pid, signal.SIGKILL)
        # Then jobs are refused after three more
        await until(lambda: state(supervisor) is WorkerState.BROKEN, "broken")
        assert not accepts(supervisor)
        assert supervisor.status().workers[0].restarts == 3


async def test_stopping_does_not_wait_for_a_process_that_cannot_die(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_house(tmp_path, worker_rules=replace(FAST, exit_grace_s=0.2)) as house:
        # Given a worker in mid-job, frozen, in a system in which it survives its SIGKILL
        job = await house.submit("waits at the gate")
        await house.under_way(job)
        pid = house.worker().pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            with monkeypatch.context() as patch:
                patch.setattr(BaseProcess, "kill", lambda self: None)
                # When the server is stopped
                await asyncio.wait_for(house.dispatcher.stop(deadline_s=0), DEADLINE_S)
            # Then that ends, with the process still there, and the job waits for the next server
            assert _alive(pid)
            assert multiprocessing.active_children() == []  # nor is it waited for when the interpreter exits
            assert (await house.store.get(job.id)).state is JobState.PENDING
        finally:
            os.kill(pid, signal.SIGKILL)


async def test_a_process_killed_while_loading_is_started_again(tmp_path: Path) -> None:
    # When the first process dies under load
    async with supervised(a_spec(tmp_path, Zoo(folder=tmp_path, load="dies once"))) as supervisor:
        # Then the second becomes ready, and the failure is forgotten
        await until(lambda: state(supervisor) is WorkerState.READY, "ready")
        assert supervisor.status().workers[0].restarts == 1
        assert supervisor.status().workers[0].failure is None


async def test_a_process_that_loads_too_long_is_killed(tmp_path: Path) -> None:
    # Given a load that never ends
    rules = replace(FAST, load_timeout_s=0.3)
    async with supervised(a_spec(tmp_path, Zoo(folder=tmp_path, load="hangs")), rules=rules) as supervisor:
        # Then it is tried again
        await until(lambda: supervisor.status().workers[0].restarts >= 1, "a restart")


async def test_a_spec_that_cannot_be_sent_breaks_the_worker_and_nothing_else(tmp_path: Path) -> None:
    # Given one worker whose spec cannot be pickled, and a good one
    bad = replace(
        a_spec(tmp_path, Zoo(folder=tmp_path)), engine=EngineFactory(target="os:getcwd", argument=lambda: None)
    )
    good = a_spec(tmp_path, Zoo(folder=tmp_path), number=2)
    async with supervised(bad, good) as supervisor:
        # Then the one is broken and the other ready
        await until(lambda: state(supervisor) is WorkerState.BROKEN, "broken")
        await until(lambda: supervisor.status().workers[1].state is WorkerState.READY, "ready")


async def test_a_server_that_stood_still_does_not_blame_its_workers(tmp_path: Path) -> None:
    async with a_house(tmp_path, worker_rules=replace(FAST, heartbeat_timeout_s=3.0)) as house:
        pid = house.worker().pid
        assert pid is not None
        # When server and worker stand still together, as in a paused container, for longer than a worker may be silent
        os.kill(pid, signal.SIGSTOP)
        time.sleep(3.3)  # noqa: ASYNC251 - the event loop is what shall stand still
        os.kill(pid, signal.SIGCONT)
        # Then the worker is not taken for hung
        assert (await house.ended(await house.submit("a tea pot"))).state is JobState.COMPLETED
        assert (house.worker().pid, house.worker().restarts) == (pid, 0)


async def test_workers_ignore_ctrl_c(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a worker in mid-job
        job = await house.submit("waits at the gate")
        await house.under_way(job)
        pid = house.worker().pid
        assert pid is not None
        # When it gets the SIGINT that a terminal sends to the whole group
        os.kill(pid, signal.SIGINT)
        house.zoo.open_gate("gate")
        # Then it makes its picture
        assert len((await house.ended(job)).attempts) == 1
        assert house.worker().pid == pid


async def test_sigterm_lets_a_worker_finish_its_job(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a worker in mid-job
        job = await house.submit("waits at the gate")
        await house.under_way(job)
        pid = house.worker().pid
        assert pid is not None
        # When it gets a SIGTERM, as a service manager may send to all processes of a service
        os.kill(pid, signal.SIGTERM)
        house.zoo.open_gate("gate")
        # Then it makes its picture first
        assert len((await house.ended(job)).attempts) == 1
        await until(lambda: house.worker().pid not in (pid, None), "a new process")


async def test_stopping_ends_processes_in_every_state(tmp_path: Path) -> None:
    # Given a worker that is ready and one that still loads
    specs = [a_spec(tmp_path, Zoo(folder=tmp_path)), a_spec(tmp_path, Zoo(folder=tmp_path, load="hangs"), number=2)]
    async with supervised(*specs) as supervisor:
        await until(lambda: state(supervisor) is WorkerState.READY, "ready")
        pids = [worker.pid for worker in supervisor.status().workers]
        # When the supervisor is stopped, twice
        await asyncio.wait_for(supervisor.stop(deadline_s=5), DEADLINE_S)
        await asyncio.wait_for(supervisor.stop(deadline_s=5), DEADLINE_S)
        # Then none is left
        assert None not in pids
        assert not any(_alive(pid) for pid in pids if pid is not None)


@pytest.mark.parametrize("frozen", [False, True])
async def test_a_worker_dies_with_a_server_that_is_killed(tmp_path: Path, frozen: bool) -> None:
    # Given a server process whose worker hangs in a job
    command = [sys.executable, "-m", "tests.zoo.parent", str(tmp_path)]
    server = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
    assert server.stdout is not None
    line = b""
    while not line.startswith(b"worker "):
        line = await asyncio.wait_for(server.stdout.readline(), DEADLINE_S)
        assert line, "the server ended"
    worker = int(line.split()[1])
    assert _alive(worker)
    if frozen:  # it cannot even read its pipe
        os.kill(worker, signal.SIGSTOP)
    # When the server is killed
    server.kill()
    await server.wait()
    # Then the worker, whose job would take an hour, is gone soon
    await until(lambda: not _alive(worker), "the worker is gone")


def _alive(pid: int) -> bool:
    """False also for a process that has ended and was not waited for (nobody may do that for an orphan here)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
