"""What the S3 server of the tests leaves behind."""

import os
import subprocess
import tempfile
from pathlib import Path

from tests.services.s3 import FOLDERS, remove_what_the_dead_left


def test_folders_of_tests_that_were_killed_are_removed_and_others_are_not() -> None:
    # Given the folder of a process that is gone, and one of a process that is not
    gone = subprocess.Popen(["true"])
    gone.wait()
    left, used = (Path(tempfile.mkdtemp(prefix=f"{FOLDERS}{pid}-")) for pid in (gone.pid, os.getpid()))
    # When the next server is about to start
    remove_what_the_dead_left()
    # Then only the first is removed
    assert not left.exists()
    assert used.exists()
    used.rmdir()
