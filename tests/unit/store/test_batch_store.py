"""SqliteBatchStore: the contract."""

from danqing.store.batch_store import SqliteBatchStore
from tests.contracts.batch_store import BatchStoreContract


class TestSqliteBatchStore(BatchStoreContract):
    implementation = SqliteBatchStore
