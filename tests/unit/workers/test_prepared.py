"""A process that waits for its work: it is there once, and gone where nobody needs it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from dataclasses import replace
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest

from danqing.workers.prepared import PreparedProcess, started
from danqing.workers.process import WorkerProcess
from tests.zoo.engines import Zoo
from tests.zoo.house import a_spec, until

LEAST = "wave"  # of the standard library; nothing here imports it


def tell(pipe: "Connection[object, object]", *what: object) -> None:
    """A worker's work."""
    pipe.send((LEAST in sys.modules, os.getpid(), what))


@pytest.fixture
def prepared() -> Generator[PreparedProcess]:
    process = PreparedProcess([LEAST])
    yield process
    process.close()


def gone(pid: int | None) -> bool:
    """Or only waits to be asked how it ended."""
    assert pid is not None
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_it_does_the_work_that_it_is_given_and_has_imported_before(prepared: PreparedProcess) -> None:
    # When it is taken and given work
    taken = prepared.take()
    assert taken is not None
    process, pipe = taken
    pipe.send((tell, 1, "two"))
    # Then it does that, having imported what it was to import, and ends
    assert pipe.recv() == (True, process.pid, (1, "two"))
    process.join()
    assert process.exitcode == 0


def tell_whether_models_may_run_code(pipe: "Connection[object, object]") -> None:
    """As diffusers took it from the environment."""
    pipe.send(not import_module("diffusers.utils.constants").DIFFUSERS_DISABLE_REMOTE_CODE)


def test_code_that_comes_with_a_model_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIFFUSERS_DISABLE_REMOTE_CODE", raising=False)
    process, pipe = started(name="test")
    pipe.send((tell_whether_models_may_run_code,))
    assert pipe.recv() is False
    process.join()
    assert process.exitcode == 0


def tell_the_environment(pipe: "Connection[object, object]", name: str) -> None:
    """As it is in the process."""
    pipe.send(os.environ.get(name))


def test_what_the_operator_says_of_that_goes_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFUSERS_DISABLE_REMOTE_CODE", "0")
    process, pipe = started(name="test")
    pipe.send((tell_the_environment, "DIFFUSERS_DISABLE_REMOTE_CODE"))
    assert pipe.recv() == "0"
    process.join()


def test_it_is_there_once(prepared: PreparedProcess) -> None:
    taken = prepared.take()
    assert taken is not None
    assert prepared.take() is None
    # And closing leaves it alone
    prepared.close()
    assert taken[0].is_alive()
    taken[1].close()
    taken[0].join()


def take_and_let_go(prepared: PreparedProcess) -> None:
    """As a taker does that ends."""
    taken = prepared.take()
    assert taken is not None
    taken[1].close()


@pytest.mark.parametrize("end", [PreparedProcess.close, take_and_let_go])
async def test_it_ends_where_it_is_not_needed(end: Callable[[PreparedProcess], object]) -> None:
    prepared = PreparedProcess([LEAST])
    assert not gone(prepared.pid)
    # When it is closed, or its taker's end of the pipe is
    end(prepared)
    # Then it is gone
    await until(lambda: gone(prepared.pid), "its end")


async def test_one_that_cannot_import_is_not_taken() -> None:
    prepared = PreparedProcess(["danqing.no_such_module"])
    await until(lambda: gone(prepared.pid), "its end")
    assert prepared.take() is None
    prepared.close()


@pytest.mark.parametrize("ended", [False, True], ids=["waiting", "ended"])
async def test_a_worker_takes_it_if_it_is_there(prepared: PreparedProcess, tmp_path: Path, ended: bool) -> None:
    # Given a prepared process, or one that has ended
    if ended:
        psutil.Process(prepared.pid).kill()
        await until(lambda: gone(prepared.pid), "its end")
    # When a worker's process is started
    said: list[str] = []
    process = WorkerProcess(
        a_spec(tmp_path, Zoo(folder=tmp_path)),
        heartbeat_s=0.02,
        on_message=lambda message: said.append(type(message).__name__),
        prepared=prepared,
    )
    # Then it is that, or another one, and loads its engine
    assert (process.pid == prepared.pid) is not ended
    await until(lambda: "WorkerReady" in said, "the loaded engine")
    # And is ended as any other
    process.kill()
    assert await process.ended == -9


def test_it_is_started_by_a_program_that_costs_it_nothing() -> None:
    heavy = ("typer", "structlog", "pydantic")
    script = f"import sys, danqing.__main__, danqing.workers.prepared; sys.exit(any(n in sys.modules for n in {heavy}))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_its_first_process_begins_with_ctrl_c_blocked() -> None:
    """Also where the resource tracker of `multiprocessing` does not run yet, which lets it through again."""
    script = (
        "import psutil, danqing.workers.prepared as p\n"
        "if __name__ == '__main__':\n"
        "    process, pipe = p.started(name='x')\n"
        "    status = open(f'/proc/{process.pid}/status').read()\n"
        "    blocked = int(status.split('SigBlk:')[1].split()[0], 16)\n"
        "    process.kill()\n"
        "    print(blocked >> 1 & 1)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_one_that_cannot_import_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    process, pipe = started(["danqing.no_such_module"], name="x")
    process.join()
    pipe.close()
    assert capfd.readouterr() == ("", "")


async def test_work_that_is_larger_than_a_pipe_keeps_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a process that reads nothing, and a worker whose description has megabytes
    prepared = PreparedProcess([LEAST])
    assert prepared.pid is not None
    os.kill(prepared.pid, signal.SIGSTOP)
    spec = replace(a_spec(tmp_path, Zoo(folder=tmp_path)), models=tuple(f"{n:0100d}" for n in range(50_000)))
    # When it is given that work, then the loop goes on
    async with asyncio.timeout(10):
        process = WorkerProcess(spec, heartbeat_s=1.0, on_message=lambda _: None, prepared=prepared)
        await asyncio.sleep(0.1)
        # And its end is seen
        process.kill()
        assert await process.ended == -9


def test_the_command_is_ended_by_sigterm_from_the_first_moment() -> None:
    """Also as the first process of a container: by a handler, for the system ends such a process by no signal."""
    script = (
        "import os, signal, danqing.cli.main as c, danqing.__main__ as m\n"
        "c.main = lambda: os.kill(os.getpid(), signal.SIGTERM)\n"
        "m.main()\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 128 + signal.SIGTERM
