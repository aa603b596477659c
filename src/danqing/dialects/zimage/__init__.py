"""The API of the Z-Image backend: tasks to poll, a history by batches, WebP previews, errors as FastAPI writes them."""
