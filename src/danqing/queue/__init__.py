"""Carrying job ids to workers. The store, not the queue, knows what state a job is in."""
