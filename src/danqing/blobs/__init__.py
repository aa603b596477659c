"""Stored pictures: `local.LocalArtifactStore` keeps them in a directory."""
