"""The OpenAI Images API, and the image editing server that took its shape."""
