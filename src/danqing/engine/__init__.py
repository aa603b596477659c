"""Models on a device: catalogue, families, upscaling, picture files. Knows nothing of jobs; torch lives here only."""
