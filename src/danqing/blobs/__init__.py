"""Stored pictures: `local.LocalArtifactStore` keeps them in a directory, `s3.S3ArtifactStore` in an object store."""
