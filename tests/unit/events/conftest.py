"""A Redis for the tests of this folder."""

import pytest

from tests.services.redis import RedisServer, this_process_redis


@pytest.fixture
def redis_server() -> RedisServer:
    """Running, and empty."""
    server = this_process_redis()
    server.flush()
    return server
