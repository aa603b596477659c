"""What a run of chaos asks of its server, or of its cluster, beside striking it: clients of every dialect, and jobs."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import requests

from tests.chaos.clients import SIDE, Client
from tests.chaos.report import Report

DIALECTS = ("turbo", "zimage", "openai", "genserve", "live")


@contextlib.contextmanager
def clients_asking(urls: Sequence[str], report: Report) -> Iterator[None]:
    """One of each dialect, inside; each goes to these addresses in turn."""
    clients = [
        Client(urls, dialect, report.promises, f"{report.seed}-{number}") for number, dialect in enumerate(DIALECTS)
    ]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        for client in clients:
            client.stop()
        for client in clients:
            client.join()


class OwnJobs:
    """Of the run itself, each with a prompt of its own."""

    def __init__(self, report: Report, url: Callable[[], str]) -> None:
        """url: where the next one goes."""
        self._report = report
        self._url = url
        self._number = 0

    def prompt(self, what: str) -> str:
        """That nobody else sends."""
        self._number += 1
        return f"{what}, {self._number} of {self._report.seed}"

    def submit(self, what: str) -> str | None:
        """Its id, which is a promise then; None if it was not accepted."""
        body = {"prompt": self.prompt(what), "width": SIDE, "height": SIDE}
        with contextlib.suppress(requests.RequestException, KeyError, TypeError):
            job_id: str = requests.post(f"{self._url()}/api/generate", json=body, timeout=10).json()["data"]["task_id"]
            self._report.promises.accepted(job_id)
            return job_id
        return None
