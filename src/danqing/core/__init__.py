"""The domain: requests, jobs, events, errors, ports and the Studio. Imports nothing of ours and does no I/O."""
