from collections.abc import Callable

from celery import Celery

class Consumer:
    def add_task_queue(self, queue: str) -> None: ...
    def cancel_task_queue(self, queue: str) -> None: ...

class Timer:
    def call_repeatedly(self, seconds: float, function: Callable[[], None]) -> object: ...

class WorkController:
    consumer: Consumer
    exitcode: int | None
    timer: Timer
    def __init__(
        self,
        *,
        app: Celery,
        hostname: str,
        pool: str,
        concurrency: int,
        without_gossip: bool,
        without_mingle: bool,
        heartbeat_interval: float,
        loglevel: str,
    ) -> None: ...
    def on_consumer_ready(self, consumer: object) -> None: ...
    def start(self) -> None: ...
