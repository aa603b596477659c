"""The API of a Z-Image-Turbo server with live progress: jobs and steps over one WebSocket, pictures over HTTP."""
