"""Figures for Prometheus: what is counted as it happens, and what is read when somebody asks. One registry a process.

No label has text of a client: models are those on offer, routes are templates, codes are those of `core.errors`.
"""
