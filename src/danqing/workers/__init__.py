"""Worker processes: one per device, each around an engine; and the supervisor that keeps them alive."""
