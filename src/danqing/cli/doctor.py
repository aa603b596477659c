"""`danqing doctor`: tells what of this machine would keep the server from working."""

from typing import Annotated

import typer

from danqing.cli.options import DataDir, ModelPrecision, Models, served, settings_from


def doctor(
    data_dir: DataDir = None,
    model: Models = None,
    precision: ModelPrecision = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to try. [default: 8000]")] = None,
) -> None:
    """Look at this machine, and at the stores that the settings name, and tell what would keep Danqing from working.

    Exit code 1 if something would; warnings alone leave it at 0. The server need not run. Changes nothing of the
    server's, and shows no password. Needs no network, but for the stores, and for a `--model` on the hub that was never
    seen here.

    Examples:

        danqing doctor

        danqing doctor --model z-image-turbo --data-dir /srv/danqing

        DATABASE_URL=postgresql://danqing:PASSWORD@db/danqing REDIS_URL=redis://redis danqing doctor
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from danqing.cli.checks import all_findings
    from danqing.cli.findings import Verdict

    colours = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILURE: "red"}
    findings = all_findings(settings_from(data_dir=data_dir, port=port, precision=precision, **served(model)))
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        colour = colours[finding.verdict]
        table.add_row(f"[{colour}]{finding.verdict}[/{colour}]", finding.subject, escape(finding.text))
    console = Console()
    console.print(table)
    failures = sum(finding.verdict is Verdict.FAILURE for finding in findings)
    console.print(
        f"\n{failures} problem(s) would keep Danqing from working." if failures else "\nDanqing can run here."
    )
    if failures:
        raise typer.Exit(1)
