"""The part of Celery that we use; the package ships no types."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kombu import Connection, Producer, Queue

class Request:
    id: str
    delivery_info: Mapping[str, Any]

class Task:
    request: Request

class Control:
    def cancel_consumer(self, queue: str, destination: Sequence[str] | None = ...) -> None: ...

class Settings:
    def update(self, values: Mapping[str, object]) -> None: ...

class Amqp:
    def Producer(self, channel: Connection, *, auto_declare: bool = ...) -> Producer: ...

class Celery:
    conf: Settings
    amqp: Amqp
    control: Control
    def __init__(self, main: str, *, set_as_current: bool = ...) -> None: ...
    def task(self, *, bind: bool, name: str, shared: bool) -> Callable[[Callable[..., None]], Task]: ...
    def set_default(self) -> None: ...
    def finalize(self) -> None: ...
    def close(self) -> None: ...
    def connection_for_write(self) -> Connection: ...
    def connection_for_read(self) -> Connection: ...
    def send_task(
        self,
        name: str,
        args: Sequence[object] = ...,
        *,
        queue: Queue,
        task_id: str,
        producer: Producer,
        retry: bool = ...,
        headers: Mapping[str, str] | None = ...,
    ) -> object: ...
