"""Danqing (丹青): a self-hosted image generation and editing server."""

__version__ = "0.1.0"
