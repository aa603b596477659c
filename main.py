"""As the Qwen image editing server was started: `python main.py`, or `uvicorn main:app --host 0.0.0.0 --port 8000`.

Serves openai alone, open to the network; see docs/dialects/openai.md. A worker's process runs this file too
(`__mp_main__`): it is to do nothing there.
"""

if __name__ == "__main__":
    from danqing.__main__ import serve_alone

    serve_alone("openai", port=8000)
elif __name__ != "__mp_main__":
    from danqing.asgi import open_app

    app = open_app("openai")
