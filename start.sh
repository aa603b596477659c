#!/usr/bin/env bash
# Installs what is needed and serves on http://0.0.0.0:8004, open to the network. Options go on to `danqing serve`.
set -euo pipefail
cd "$(dirname "$0")"
make .venv/.installed
exec .venv/bin/danqing serve --host 0.0.0.0 --port 8004 --allow-public "$@"
