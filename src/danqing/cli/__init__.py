"""The `danqing` command; one module for each of its commands."""
