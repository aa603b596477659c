"""`python test_img2img.py [MODE]`, as GenServe's document has it: `danqing selftest img2img`."""

import sys
from pathlib import Path

from danqing.__main__ import main

if __name__ == "__main__":
    sys.argv[:1] = ["danqing", "selftest", "img2img", f"--beside={Path(__file__).resolve().parents[1]}"]
    main()
