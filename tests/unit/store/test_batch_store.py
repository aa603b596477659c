"""SqlBatchStore: the contract."""

from danqing.store.batch_store import SqlBatchStore
from tests.contracts.batch_store import BatchStoreContract


class TestSqlBatchStore(BatchStoreContract):
    implementation = SqlBatchStore
