"""Runs the seed document's Python and curl examples as they stand; only host and port are changed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.dialects.turbo.seed_document import blocks

PYTHON = blocks("python")
CURL = [block for block in blocks("bash") if "curl" in block]
DEADLINE_S = 60

# For a machine without jq: the three filters that the document uses.
JQ = f"""\
#!{sys.executable}
import json, sys
*options, path = sys.argv[1:]
value = json.load(sys.stdin)
for key in filter(None, path.split(".")):
    value = value[key]
print(value if "-r" in options else json.dumps(value, indent=2, ensure_ascii=False))
"""


def _run(command: list[str], script: str, url: str, folder: Path) -> str:
    """What the script printed; it must end well."""
    assert "localhost:5000" in script
    file = folder / "example"
    file.write_text(script.replace("http://localhost:5000", url), "utf-8")
    shims = folder / "bin"
    shims.mkdir()
    if shutil.which("jq") is None:
        (shims / "jq").write_text(JQ)
        (shims / "jq").chmod(0o755)
    environment = os.environ | {
        "PATH": f"{shims}{os.pathsep}{os.environ['PATH']}",
        "NO_PROXY": "*",
        "PYTHONIOENCODING": "utf-8",
    }
    done = subprocess.run(
        [*command, str(file)], cwd=folder, env=environment, capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_python(script: str, url: str, folder: Path) -> str:
    """What the program printed; it must end well, without a warning. folder: where it runs, and leaves its files."""
    return _run([sys.executable, "-W", "error"], script, url, folder)


def run_curl(script: str, url: str, folder: Path) -> str:
    """The same for a shell script."""
    return _run(["bash", "-eu"], script, url, folder)
