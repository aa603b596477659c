"""`danqing backup` and `danqing restore`: copies of everything that a server keeps, and a data dir made from one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from danqing.cli.options import DataDir, settings_from

if TYPE_CHECKING:
    from danqing.wiring.backup import BackupReport

Folder = Annotated[Path, typer.Argument(help="The backup's folder.")]


def backup(
    folder: Folder,
    data_dir: DataDir = None,
    check: Annotated[
        bool, typer.Option("--check", help="Make none: read all of one, and tell if it is whole.")
    ] = False,
) -> None:
    """Copy jobs, history and pictures into a new folder, while the server runs or not.

    Every file is named in `backup.json` with its size and SHA-256; `--check` reads them all again. A backup that was
    cut off leaves no folder of that name. Where the jobs are in PostgreSQL, its own tools do it; see
    docs/operations.md.

    Examples:

        danqing backup /mnt/backups/danqing-$(date +%F)

        danqing backup /mnt/backups/danqing-2026-11-26 --check
    """
    from danqing.wiring.backup import check_backup, make_backup

    if check:
        _tell("whole", check_backup(folder), folder)
    else:
        _tell("made", make_backup(settings_from(data_dir=data_dir), folder), folder)


def restore(folder: Folder, data_dir: DataDir = None) -> None:
    """Make a data dir from a backup. It must not have a database yet; no server may run on it.

    What waited or ran when the backup was made is made after the next start.

    Examples:

        danqing restore /mnt/backups/danqing-2026-11-26 --data-dir /srv/danqing
    """
    from danqing.wiring.backup import restore_backup

    _tell("restored", restore_backup(folder, settings_from(data_dir=data_dir)), folder)


def _tell(what: str, report: "BackupReport", folder: Path) -> None:
    print(f"{folder}: {what}; {report.jobs} jobs, {report.pictures} pictures, {report.size_bytes / 1e6:.1f} MB")
    if report.missing:
        print(f"{report.missing} pictures that jobs have were not there to be copied.")
