"""Servers that tests share: one of each for a process, started when the first test asks for it."""

from collections.abc import Iterator

import pytest

from tests.services.s3 import S3Server, s3_server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """Each test takes a part of its bucket for itself."""
    with s3_server() as server:
        yield server
