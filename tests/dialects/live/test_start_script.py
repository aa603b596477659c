"""`bash start.sh`, as the document has it: installs, then serves where the document says."""

import shutil
import stat
import subprocess
from pathlib import Path

START = Path(__file__).parents[3] / "start.sh"


def program(file: Path, name: str) -> None:
    """One that says how it was called."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'#!/bin/sh\necho "{name} in $PWD: $*"\n')
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def test_it_installs_and_serves_on_the_documented_address(tmp_path: Path) -> None:
    # Given the script in a folder, called from elsewhere
    home = tmp_path / "danqing"
    program(tmp_path / "bin" / "make", "make")
    program(home / ".venv" / "bin" / "danqing", "danqing")
    shutil.copy(START, home)

    done = subprocess.run(
        ["bash", str(home / "start.sh"), "--model", "z-image-turbo"],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines() == [
        f"make in {home}: .venv/.installed",
        f"danqing in {home}: serve --host 0.0.0.0 --port 8004 --allow-public --model z-image-turbo",
    ]
