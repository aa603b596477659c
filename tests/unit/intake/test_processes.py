"""The decoding processes: when they come, what they may do, and what happens when they die, hang or lie."""

import asyncio
import ctypes
import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from danqing.blobs.local import LocalArtifactStore
from danqing.core.errors import InternalError, InvalidImage, ShuttingDown, StorageFailure, TooBusy
from danqing.intake import decoder as module
from danqing.intake.decoder import Decoder
from danqing.intake.limits import IntakeLimits
from danqing.intake.sandboxed import SandboxedIntake
from tests.unit.intake.conftest import an_intake
from tests.unit.intake.pictures import a_picture, encoded, noise

DEADLINE_S = 60
SMALL = encoded(a_picture(), "PNG")
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel keeps these limits on Linux")


@pytest.fixture(scope="module")
def slow() -> bytes:
    """Takes a second or more to rebuild."""
    return encoded(noise(4000, 4000), "JPEG", quality=60, progressive=True)


async def a_busy_pid(intake: SandboxedIntake, *, other_than: int | None = None) -> int:
    """Of a process that has been given a picture: it computes."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            for pid in intake.pids:
                if pid != other_than and psutil.Process(pid).cpu_times().user > 0.2:
                    return pid
            await asyncio.sleep(0.005)


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


async def test_the_first_picture_starts_it_and_the_next_ones_use_it(intake: SandboxedIntake) -> None:
    assert intake.pids == ()

    pids = set[int]()
    for _ in range(3):
        await intake.stage(SMALL, parameter="image")
        pids.update(intake.pids)

    assert len(pids) == 1


async def test_a_hundred_at_once(intake: SandboxedIntake, staged_files: Callable[[], list[Path]]) -> None:
    owners = [f"owner {number % 5}" for number in range(100)]
    contents = [SMALL, b"no picture", encoded(a_picture(), "JPEG"), SMALL[:-40]] * 25

    results = await asyncio.gather(
        *(
            intake.stage(content, parameter="image", owner=owner)
            for content, owner in zip(contents, owners, strict=True)
        ),
        return_exceptions=True,
    )

    refused = [isinstance(result, InvalidImage) for result in results]
    assert refused == [False, True, False, True] * 25
    assert len(staged_files()) == 50
    assert len(intake.pids) == 2


async def test_a_picture_beyond_those_that_may_wait_is_refused_at_once(
    artifacts: LocalArtifactStore, staged_files: Callable[[], list[Path]]
) -> None:
    intake = SandboxedIntake(artifacts, processes=1, most_waiting=8, most_waiting_of_one=5)
    try:
        results = await asyncio.gather(
            *(intake.stage(SMALL, parameter="image", owner=owner) for owner in "a" * 9 + "b" * 9),
            return_exceptions=True,
        )
    finally:
        await intake.close()

    # Then of the first owner one was served at once and five waited, and of the second as many as there was room for
    assert [type(result) is TooBusy for result in results] == 6 * [False] + 3 * [True] + 3 * [False] + 6 * [True]
    assert len(staged_files()) == 9


async def test_one_owner_s_slow_pictures_do_not_stop_the_others(artifacts: LocalArtifactStore, slow: bytes) -> None:
    intake = SandboxedIntake(artifacts, processes=1)
    done: list[str] = []

    async def stage(content: bytes, owner: str) -> None:
        await intake.stage(content, parameter="image", owner=owner)
        done.append(owner)

    # Given somebody who sends four slow pictures, and then somebody else with one
    try:
        async with asyncio.TaskGroup() as group:
            for content, owner in [(slow, "many")] * 4 + [(SMALL, "one")]:
                group.create_task(stage(content, owner))
    finally:
        await intake.close()

    assert done == ["many", "many", "one", "many", "many"]


async def test_several_processes_work_at_once(artifacts: LocalArtifactStore) -> None:
    intake = SandboxedIntake(artifacts, processes=2)
    try:
        await asyncio.gather(*(intake.stage(SMALL, parameter="image") for _ in range(20)))
        assert len(intake.pids) == 2
    finally:
        await intake.close()


async def test_a_process_that_is_killed_in_the_middle_is_replaced(
    intake: SandboxedIntake, staged_files: Callable[[], list[Path]], slow: bytes
) -> None:
    staging = asyncio.create_task(intake.stage(slow, parameter="image"))
    pid = await a_busy_pid(intake)
    os.kill(pid, signal.SIGKILL)

    staged = await staging

    assert (staged.width, staged.height) == (4000, 4000)
    assert is_gone(pid) and pid not in intake.pids
    assert staged_files() == [staged.path]


async def test_a_picture_that_kills_every_process_is_refused(
    intake: SandboxedIntake, staged_files: Callable[[], list[Path]], slow: bytes
) -> None:
    staging = asyncio.create_task(intake.stage(slow, parameter="image"))
    first = await a_busy_pid(intake)
    os.kill(first, signal.SIGKILL)
    os.kill(await a_busy_pid(intake, other_than=first), signal.SIGKILL)

    with pytest.raises(InvalidImage):
        await staging

    assert staged_files() == []
    assert (await intake.stage(SMALL, parameter="image")).width == 40


async def test_a_process_that_is_killed_between_pictures_is_replaced(intake: SandboxedIntake) -> None:
    await intake.stage(SMALL, parameter="image")
    (pid,) = intake.pids
    os.kill(pid, signal.SIGKILL)

    assert (await intake.stage(SMALL, parameter="image")).width == 40
    assert is_gone(pid)


@pytest.mark.parametrize("limits", [{"wall_s": 0.3}, pytest.param({"cpu_s": 0}, marks=linux_only)])
async def test_a_picture_that_takes_too_long_is_refused(
    artifacts: LocalArtifactStore, staged_files: Callable[[], list[Path]], limits: dict[str, float], slow: bytes
) -> None:
    async with an_intake(artifacts, **limits) as intake:
        with pytest.raises(InvalidImage, match="takes too long"):
            await intake.stage(encoded(noise(6000, 6000), "JPEG", quality=60, progressive=True), parameter="image")
        assert intake.pids == ()
        assert staged_files() == []


async def test_a_process_that_hangs_is_ended(
    artifacts: LocalArtifactStore, staged_files: Callable[[], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHILD", "tests.unit.intake.silent_child")
    async with an_intake(artifacts, wall_s=0.2) as intake:
        with pytest.raises(InvalidImage, match="takes too long"):
            await intake.stage(SMALL, parameter="image")
        assert intake.pids == ()
    assert staged_files() == []


async def test_nothing_that_a_process_says_is_believed(
    intake: SandboxedIntake, staged_files: Callable[[], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHILD", "tests.unit.intake.lying_child")

    with pytest.raises(StorageFailure):  # there is no file
        await intake.stage(SMALL, parameter="image")
    with pytest.raises(InvalidImage):  # an answer without end
        await intake.stage(SMALL + b"long", parameter="image")

    assert staged_files() == []


async def test_that_no_process_comes_up_is_no_picture_s_fault(
    intake: SandboxedIntake, staged_files: Callable[[], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHILD", "tests.unit.intake.there_is_none")

    with pytest.raises(InternalError):
        await intake.stage(SMALL, parameter="image")

    assert staged_files() == []


async def test_who_is_cancelled_leaves_nothing(
    intake: SandboxedIntake, staged_files: Callable[[], list[Path]], slow: bytes
) -> None:
    staging = asyncio.create_task(intake.stage(slow, parameter="image"))
    pid = await a_busy_pid(intake)

    staging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await staging

    assert staged_files() == []
    assert is_gone(pid)
    assert (await intake.stage(SMALL, parameter="image")).width == 40


@pytest.mark.parametrize("turns", range(0, 12, 2))
async def test_at_whatever_moment_he_is_cancelled(
    intake: SandboxedIntake, staged_files: Callable[[], list[Path]], turns: int
) -> None:
    staging = asyncio.create_task(intake.stage(SMALL, parameter="image"))
    for _ in range(turns):
        await asyncio.sleep(0.002)
    staging.cancel()
    (result,) = await asyncio.gather(staging, return_exceptions=True)

    left = [] if isinstance(result, asyncio.CancelledError) else 1 * [getattr(result, "path", None)]
    assert staged_files() == left
    assert len(intake.pids) <= 1


@pytest.mark.parametrize("turns", [1, 2, 3, 4])
async def test_who_is_cancelled_while_a_process_starts_leaves_no_socket(tmp_path: Path, turns: int) -> None:
    starting = asyncio.create_task(Decoder.start(IntakeLimits(), tmp_path))
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    gc.collect()  # a socket that was not closed is told of


async def test_closing_ends_all_processes_also_in_the_middle(
    artifacts: LocalArtifactStore, staged_files: Callable[[], list[Path]], slow: bytes
) -> None:
    intake = SandboxedIntake(artifacts)
    staging = [asyncio.create_task(intake.stage(slow, parameter="image")) for _ in range(3)]
    pid = await a_busy_pid(intake)

    await intake.close()
    results = await asyncio.gather(*staging, return_exceptions=True)

    assert [type(result) for result in results] == [ShuttingDown] * 3
    assert is_gone(pid) and intake.pids == ()
    assert staged_files() == []
    with pytest.raises(ShuttingDown):
        await intake.stage(SMALL, parameter="image")
    await intake.close()


async def test_closing_ends_a_process_that_is_only_starting(
    artifacts: LocalArtifactStore, staged_files: Callable[[], list[Path]]
) -> None:
    others = set(psutil.Process().children())

    def children() -> set[psutil.Process]:
        return set(psutil.Process().children()) - others

    intake = SandboxedIntake(artifacts)
    staging = asyncio.create_task(intake.stage(SMALL, parameter="image"))
    async with asyncio.timeout(DEADLINE_S):
        while not children():  # noqa: ASYNC110 - it is not told
            await asyncio.sleep(0.001)
    assert intake.pids == ()  # it has not said yet that it is ready

    await intake.close()

    assert children() == set()
    with pytest.raises(ShuttingDown):
        await staging
    assert intake.pids == () and staged_files() == []


@linux_only
async def test_a_process_is_confined(intake: SandboxedIntake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "of the server")
    await intake.stage(SMALL, parameter="image")
    (pid,) = intake.pids
    process = psutil.Process(pid)

    assert process.rlimit(psutil.RLIMIT_AS)[1] == 1536 * 1024 * 1024
    assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert process.rlimit(psutil.RLIMIT_NPROC) == (0, 0)
    assert process.rlimit(psutil.RLIMIT_CPU)[0] < 120
    assert set(process.environ()) <= {"PYTHONPATH", "LC_CTYPE"}
    assert process.net_connections() == []


PROBE = """
import json, os, pathlib, socket, sys
sys.argv[1:] = []
from danqing.intake.child import _confine
from danqing.intake.limits import IntakeLimits
from danqing.intake.rebuild import rebuild

folder, outside = map(pathlib.Path, json.loads(sys.stdin.readline()))
_confine(IntakeLimits(), folder)
told = {}

def tried(name, work):
    try:
        work()
        told[name] = True
    except OSError:
        told[name] = False

tried("makes in the folder", lambda: (folder / "made").write_bytes(b"x"))
tried("removes in the folder", (folder / "made").unlink)
tried("reads elsewhere", outside.read_bytes)
tried("changes elsewhere", lambda: outside.write_bytes(b"x"))
tried("makes elsewhere", lambda: (outside.parent / "made").write_bytes(b"x"))
tried("removes elsewhere", outside.unlink)
tried("signals its parent", lambda: os.kill(os.getppid(), 0))
tried("connects", lambda: socket.create_connection(("127.0.0.1", int(sys.stdin.readline()))))
print(json.dumps(told))
"""


@linux_only
def test_what_a_decoder_that_was_taken_over_cannot_do(tmp_path: Path) -> None:
    if ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) < 6:
        pytest.skip("this kernel has no Landlock, or one that knows neither network nor signals")
    folder, outside = tmp_path / "staging", tmp_path / "secret"
    folder.mkdir()
    outside.write_bytes(b"of the server")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        said = f"{json.dumps([str(folder), str(outside)])}\n{listening.getsockname()[1]}\n"
        told = subprocess.run(
            [sys.executable, "-c", PROBE], input=said, capture_output=True, text=True, check=True, timeout=DEADLINE_S
        )

    able = {name for name, done in json.loads(told.stdout).items() if done}
    assert able == {"makes in the folder", "removes in the folder"}
    assert outside.read_bytes() == b"of the server"


async def test_a_folder_that_is_replaced_is_no_end(
    intake: SandboxedIntake, artifacts: LocalArtifactStore, tmp_path: Path
) -> None:
    await intake.stage(SMALL, parameter="image")
    shutil.rmtree(tmp_path / "outputs")

    # Then a decoder that was confined to the old one is replaced
    assert (await intake.stage(SMALL, parameter="image")).path.exists()


@linux_only
def test_it_does_not_outlive_a_server_that_is_killed(tmp_path: Path, slow: bytes) -> None:
    # Given a server whose decoder is at work
    (tmp_path / "slow").write_bytes(slow)
    program = (
        "import asyncio, pathlib, sys\n"
        "from danqing.blobs.local import LocalArtifactStore\n"
        "from danqing.intake.sandboxed import SandboxedIntake\n"
        "async def main(root):\n"
        "    intake = SandboxedIntake(LocalArtifactStore(root / 'outputs'))\n"
        "    while True:\n"
        "        await intake.stage(root / 'slow', parameter='image')\n"
        "asyncio.run(main(pathlib.Path(sys.argv[1])))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)]) as server:
        try:
            deadline = time.monotonic() + DEADLINE_S
            while not any(child.cpu_times().user > 0.5 for child in psutil.Process(server.pid).children()):
                assert time.monotonic() < deadline and server.poll() is None
                time.sleep(0.02)
            (decoder,) = psutil.Process(server.pid).children()

            # When the server has no time for anything
            decoder.suspend()  # so that it cannot finish by itself and end with its input
            server.kill()
            server.wait(DEADLINE_S)

            # Then its decoder is gone too
            psutil.wait_procs([decoder], timeout=DEADLINE_S)
            assert not decoder.is_running() or decoder.status() == psutil.STATUS_ZOMBIE
        finally:
            server.kill()


def test_the_server_s_process_never_loads_a_decoder() -> None:
    program = "import sys, danqing.intake.sandboxed; sys.exit('PIL' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
