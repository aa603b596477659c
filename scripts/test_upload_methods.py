"""`python test_upload_methods.py simple|full`, as GenServe's document has it: `danqing bench uploads`."""

import sys
from pathlib import Path

from danqing.__main__ import main

if __name__ == "__main__":
    sys.argv[:1] = ["danqing", "bench", "uploads", f"--beside={Path(__file__).resolve().parents[1]}"]
    main()
