"""Runs the programs of the vendors' documents as they stand, host and port changed, against a real server."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HOSTS = ("localhost:12411", "localhost:8004", "localhost:8000")
DEADLINE_S = 150
NODE = shutil.which("node")


def at(url: str, script: str) -> str:
    """The script, talking to the server at url."""
    assert any(host in script for host in HOSTS)
    for host in HOSTS:
        script = script.replace(host, url.removeprefix("http://"))
    return script


def run_python(script: str, url: str, folder: Path) -> str:
    """What the program printed; it must end well."""
    return _run([sys.executable], script, url, folder)


def run_curl(script: str, url: str, folder: Path) -> str:
    """The same for a shell script; what curl itself says goes nowhere."""
    return _run(["bash", "-eu"], script, url, folder)


def _run(command: list[str], script: str, url: str, folder: Path) -> str:
    (folder / "example").write_text(at(url, script), "utf-8")
    done = subprocess.run(
        [*command, "example"],
        cwd=folder,
        env=os.environ | {"NO_PROXY": "*", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_node(script: str, url: str, folder: Path, *, until: str) -> list[str]:
    """The lines that the program printed until one began so; it would go on listening."""
    assert NODE is not None
    file = folder / "example.mjs"
    file.write_text(at(url, script), "utf-8")
    has_sockets = subprocess.run([NODE, "-p", "typeof WebSocket"], capture_output=True, text=True, check=True)
    options = [] if "function" in has_sockets.stdout else ["--experimental-websocket"]
    environment = os.environ | {"NO_PROXY": "*", "NODE_NO_WARNINGS": "1"}
    printed: list[str] = []
    with subprocess.Popen([NODE, *options, str(file)], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            printed.append(line.strip())
            if line.startswith(until):
                break
        process.kill()
    return printed
