"""A decoder that claims to have done what it has not, or says what nobody asked."""

import json
import sys

sys.stdout.write("ready\n")
sys.stdout.flush()
for line in sys.stdin:
    source = json.loads(line)["source"]
    with open(source, "rb") as file:
        long = b"long" in file.read()
    sys.stdout.write("x" * 100_000 + "\n" if long else "rebuilt\n")
    sys.stdout.flush()
