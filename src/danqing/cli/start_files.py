"""`python app.py` and `python main.py`: two of the seeds' servers, started as their documents say."""

import sys
from pathlib import Path

from danqing.cli.options import UserError, settings_errors
from danqing.cli.serve import run_server
from danqing.core.errors import DanqingError


def serve_alone(dialect: str, *, port: int) -> None:
    """Serves one dialect alone until a signal, open to the network as its seed is, where no setting says otherwise.

    port: where none is set. A user's error ends in one line and exit code 1.
    """
    from danqing.config import load_settings

    try:
        if sys.argv[1:]:
            name = Path(sys.argv[0]).name
            raise UserError(f"{name} takes no options: set variables (docs/configuration.md), or use `danqing serve`.")
        with settings_errors():
            settings = load_settings(defaults={"host": "0.0.0.0", "port": port, "allow_public": True})
        run_server(settings, alone=dialect)
    except (UserError, DanqingError) as exc:
        sys.exit(f"danqing: {exc}")
