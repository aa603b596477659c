"""The API of the Z-Image-Turbo Flask server: five endpoints, the envelope {code, message, data}, Chinese messages."""
