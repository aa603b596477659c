should_stop: int | None
should_terminate: int | None
