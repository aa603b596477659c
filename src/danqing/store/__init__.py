"""Jobs, attempts and the names of artifacts in a database: `sqlite.SqliteJobStore`; `data_lock.DataDirectoryLock`."""
