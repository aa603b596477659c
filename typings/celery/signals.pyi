from collections.abc import Callable

class Signal:
    def connect(self, receiver: Callable[..., None], *, sender: object = ..., weak: bool = ...) -> object: ...
    def disconnect(self, receiver: Callable[..., None], *, sender: object = ...) -> object: ...

task_revoked: Signal
worker_init: Signal
