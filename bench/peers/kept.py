"""What `peers.threads` keeps with PEER_KEEPS=1: jobs in SQLite, a commit for each change, synced to disk like pictures.

Written as one would for a single process: one connection, one lock, and whoever changes something waits for the disk.
After a restart it makes what was not done; of what was, it knows nothing more.
"""

import os
import sqlite3
import threading
from pathlib import Path

from PIL import Image


class Kept:
    """May be used from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._database = sqlite3.connect(folder / "jobs.sqlite", check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, request TEXT, status TEXT)")
        self._database.commit()

    def unfinished(self) -> list[tuple[str, str]]:
        """Id and request (JSON) of each, in the order of their coming."""
        with self._lock:
            found = self._database.execute("SELECT id, request FROM jobs WHERE status = 'pending' ORDER BY rowid")
            return found.fetchall()

    def accepted(self, job_id: str, request: str) -> None:
        """Returns once it is on the disk."""
        with self._lock, self._database:
            self._database.execute("INSERT INTO jobs VALUES (?, ?, 'pending')", (job_id, request))

    def completed(self, job_id: str, picture: Image.Image) -> None:
        """As `accepted`, and with it the picture, whole or not at all."""
        temporary = self._folder / f".{job_id}.png"
        with temporary.open("wb") as file:
            picture.save(file, "PNG")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._folder / f"{job_id}.png")
        entries = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(entries)
        finally:
            os.close(entries)
        with self._lock, self._database:
            self._database.execute("UPDATE jobs SET status = 'completed' WHERE id = ?", (job_id,))
