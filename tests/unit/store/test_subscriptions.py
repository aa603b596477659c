"""SqliteSubscriptions: the contract."""

from danqing.store.subscriptions import SqliteSubscriptions
from tests.contracts.subscriptions import SubscriptionsContract


class TestSqliteSubscriptions(SubscriptionsContract):
    implementation = SqliteSubscriptions
