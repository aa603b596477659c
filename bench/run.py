"""Runs every benchmark of this folder and prints the figures; `--out FILE` keeps them as JSON."""

import argparse
import json
import os
import platform
from pathlib import Path

import encoding
import overhead
import previews
import soak
import startup
import submits
import upscaling

ALWAYS = {
    "overhead": lambda quick: overhead.measure(10 if quick else 60),
    "startup": lambda quick: startup.measure(1 if quick else 3),
    "encoding": lambda quick: encoding.measure(3 if quick else 7),
    "upscaling": lambda quick: upscaling.measure(128 if quick else 1024),
    "previews": lambda quick: previews.measure(3 if quick else 20),
}
# Those that take long, or need what is not there everywhere, are run when they are named.
BENCHMARKS = ALWAYS | {
    "submits": lambda quick: submits.measure(1 if quick else 5),
    "soak": lambda quick: soak.measure(500 if quick else 10_000),
}


def main() -> None:
    """Prints one block a benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"any of {', '.join(BENCHMARKS)} ({', '.join(ALWAYS)})")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it runs, not to quote")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if unknown := set(args.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    print(f"machine: {machine}")
    results: dict[str, object] = {"machine": machine}
    for name in args.names or ALWAYS:
        figures = BENCHMARKS[name](args.quick)
        results[name] = figures
        print(f"\n{name}")
        for key, value in figures.items():
            print(f"  {key:<36} {value}")
    if args.out:
        args.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
