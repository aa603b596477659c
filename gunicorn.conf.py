"""What gunicorn reads by itself when it is started in this folder; its command line goes first."""

worker_class = "uvicorn_worker.UvicornWorker"  # Danqing speaks ASGI
