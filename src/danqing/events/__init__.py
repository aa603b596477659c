"""Telling watchers what happens to jobs."""
