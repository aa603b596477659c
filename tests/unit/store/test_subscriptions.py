"""SqlSubscriptions: the contract."""

from danqing.store.subscriptions import SqlSubscriptions
from tests.contracts.subscriptions import SubscriptionsContract


class TestSqlSubscriptions(SubscriptionsContract):
    implementation = SqlSubscriptions
