"""A decoder that comes up and then says nothing more."""

import sys
import time

sys.stdout.write("ready\n")
sys.stdout.flush()
sys.stdin.readline()
time.sleep(600)
