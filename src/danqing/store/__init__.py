"""Jobs, batches and subscriptions in a database: `sqlite.SqliteStores` for one server, `postgres.PostgresStores` for
many processes; `data_lock.DataDirectoryLock`.
"""
