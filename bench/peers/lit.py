"""LitServe, which keeps a model in a process of its own: `python -m peers.lit PORT`."""

import base64
import sys
from typing import Any

import litserve

from peers import device


class Images(litserve.LitAPI):
    """One picture a request, in its answer."""

    def setup(self, device: str) -> None:
        """Nothing to load."""

    def decode_request(self, request: dict[str, Any]) -> int:
        """The seed."""
        return int(request["seed"])

    def predict(self, x: int) -> bytes:
        """PNG."""
        return device.png_of(device.make(x))

    def encode_response(self, output: bytes) -> dict[str, str]:
        """As OpenAI's API has it."""
        return {"b64_json": base64.b64encode(output).decode()}


if __name__ == "__main__":
    server = litserve.LitServer(Images(), accelerator="cpu", workers_per_device=1, timeout=600)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
