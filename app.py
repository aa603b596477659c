"""As the Z-Image-Turbo Flask server was started: `python app.py`, or gunicorn with `app:app`.

Serves turbo alone, open to the network; see docs/dialects/turbo.md. A worker's process runs this file too
(`__mp_main__`): it is to do nothing there.
"""

if __name__ == "__main__":
    from danqing.__main__ import serve_alone

    serve_alone("turbo", port=5000)
elif __name__ != "__mp_main__":
    from danqing.asgi import open_app

    app = open_app("turbo")
