"""`python test_upload_methods.py simple|full`, as GenServe's document has it: `danqing bench uploads`."""

import sys

from danqing.__main__ import main

if __name__ == "__main__":
    sys.argv[:1] = ["danqing", "bench", "uploads"]
    main()
