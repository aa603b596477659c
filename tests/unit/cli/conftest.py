"""Commands run in this process set up its logging; the next test begins without."""

import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """As it was, so that no log line goes to a stream of a command that has ended."""
    loggers = [logging.getLogger(), logging.getLogger("danqing")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    yield
    structlog.reset_defaults()
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
