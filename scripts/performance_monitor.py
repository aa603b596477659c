"""`python performance_monitor.py --continuous 30`, as GenServe's document has it: `danqing monitor`."""

import sys
from pathlib import Path

from danqing.__main__ import main

if __name__ == "__main__":
    sys.argv[:1] = ["danqing", "monitor", f"--beside={Path(__file__).resolve().parents[1]}"]
    main()
