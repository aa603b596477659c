"""The GenServe API: a request is answered with its picture; JSON with base64, or a form with files."""
