"""Settings that all tests share."""

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.contracts")

# No deadline: the machine may be busy. No chance: a failure must be there again in the next run.
settings.register_profile("house", deadline=None, derandomize=True, database=None)
settings.load_profile("house")
