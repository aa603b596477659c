"""The whole server in real processes: what happens when parts of it, or all of it, are killed."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.e2e.servers import DEADLINE_S, PNG, HealthWatch, a_server, clean_environment, until


def test_a_request_becomes_a_picture(tmp_path: Path) -> None:
    with a_server(tmp_path) as server:
        # Given a server that has loaded its model
        server.start_ready()
        # When a picture is asked for
        task_id = server.submit("a plain one")
        # Then the job ends in a picture, which lies where the task says
        task = server.wait_for(task_id, "completed")
        assert server.picture(task_id).startswith(PNG)
        assert Path(task["image_path"]).read_bytes() == server.picture(task_id)


def test_a_killed_worker_costs_neither_the_job_nor_an_answer(tmp_path: Path) -> None:
    with a_server(tmp_path) as server:
        # Given a job in the middle of its steps
        server.start_ready()
        task_id = server.submit("waits at the gate")
        server.wait_for(task_id, "processing")
        with HealthWatch(server) as health:
            # When its worker is killed
            (worker,) = server.worker_pids()
            os.kill(worker, signal.SIGKILL)
            until(lambda: server.worker_pids() not in ([], [worker]), "another worker")
            server.zoo.open_gate("gate")
            # Then the job still ends in its picture
            server.wait_for(task_id, "completed")
        assert server.picture(task_id).startswith(PNG)
        # And the server answered throughout
        assert not health.silent
        assert health.answers > 0


def test_every_accepted_job_ends_after_everything_was_killed(tmp_path: Path) -> None:
    with a_server(tmp_path) as server:
        # Given one job on the device and others waiting
        server.start_ready()
        task_ids = [server.submit("waits at the gate"), *(server.submit(f"number {n}") for n in range(5))]
        server.wait_for(task_ids[0], "processing")
        # When the server and its worker are killed, and a server is started again
        server.kill_everything()
        server.zoo.open_gate("gate")
        server.start_ready()
        # Then every one of them ends in its picture
        for task_id in task_ids:
            server.wait_for(task_id, "completed")
            assert server.picture(task_id).startswith(PNG)


def test_sigterm_finishes_what_runs_and_keeps_what_waits(tmp_path: Path) -> None:
    with a_server(tmp_path) as server:
        # Given one job on the device and one that waits
        server.start_ready()
        running = server.submit("waits at the gate")
        server.wait_for(running, "processing")
        waiting = server.submit("another")
        # When the server is told to stop, and the running job can go on only afterwards
        assert server.process is not None
        server.process.terminate()
        until(lambda: '"stopping"' in server.log, "a server that has heard it")
        server.zoo.open_gate("gate")
        # Then it ends by itself, and nothing of it is left
        assert server.process.wait(DEADLINE_S) == 0
        assert not (server.data_dir / "server.json").exists()
        # And the running job was finished; the other one is made after the next start
        assert (server.data_dir / "outputs" / f"{running}.png").exists()
        server.start_ready()
        assert server.task(running)["status"] == "completed"
        server.wait_for(waiting, "completed")


def test_a_second_signal_does_not_wait_for_the_running_job(tmp_path: Path) -> None:
    with a_server(tmp_path) as server:
        # Given a job that never ends, and a drain that would wait for an hour
        server.settings["DANQING_DRAIN_DEADLINE_S"] = "3600"
        server.start_ready()
        task_id = server.submit("waits at the gate")
        server.wait_for(task_id, "processing")
        assert server.process is not None
        # When two signals come
        server.process.terminate()
        until(lambda: '"stopping"' in server.log, "a server that has heard it")
        server.process.terminate()
        # Then the server ends all the same, and the job is made after the next start
        assert server.process.wait(DEADLINE_S) == 0
        server.zoo.open_gate("gate")
        server.start_ready()
        server.wait_for(task_id, "completed")


def test_a_second_server_on_the_data_dir_is_refused(tmp_path: Path) -> None:
    with a_server(tmp_path) as server:
        server.start()
        second = server.popen()
        assert second.wait(DEADLINE_S) == 1
        assert "in use by another server" in server.log
        # And the first one does not mind
        assert server.health() is not None


def test_two_ports_reach_the_same_jobs(tmp_path: Path) -> None:
    with a_server(tmp_path, DANQING_LISTEN="turbo=0") as server:
        # Given a server with a port for turbo alone
        server.start_ready()
        shared, turbo = server.summary[1].split()[1], server.summary[2].split()[0]
        assert shared == server.url
        task_id = server.submit("a plain one")
        # Then a job that came in by one port is there on the other
        server.url = turbo
        server.wait_for(task_id, "completed")


def test_a_backup_of_a_running_server_becomes_a_server_again(tmp_path: Path) -> None:
    with a_server(tmp_path) as server:
        # Given a server with a picture, and a job under way
        server.start_ready()
        done = server.submit("a plain one")
        server.wait_for(done, "completed")
        picture = server.picture(done)
        running = server.submit("waits at the gate")
        server.wait_for(running, "processing")
        # When it is backed up, and then everything of it is lost
        backup, restored = tmp_path / "backup", tmp_path / "restored"
        danqing("backup", str(backup), "--data-dir", str(server.data_dir))
        server.kill_everything()
        shutil.rmtree(server.data_dir)
        danqing("backup", str(backup), "--check")
        danqing("restore", str(backup), "--data-dir", str(restored))
        # Then a server on what was restored has the picture, and makes the other one
        restored.rename(server.data_dir)
        server.zoo.open_gate("gate")
        server.start_ready()
        assert server.picture(done) == picture
        server.wait_for(running, "completed")
        assert server.picture(running).startswith(PNG)


def danqing(*arguments: str) -> None:
    """Runs the command, which must succeed."""
    command = [sys.executable, "-m", "danqing", *arguments]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr
