"""Jobs, batches and subscriptions in a database: `sqlite.SqliteStores`; `data_lock.DataDirectoryLock`."""
