#!/usr/bin/env bash
# Installs what is needed and serves on http://0.0.0.0:8004, open to the network. Options go on to `danqing serve`.
set -euo pipefail
cd "$(dirname "$0")"

# Whether a model is asked for whose weights need the package sdnq, which nobody gets who does not choose it: its licence
# is GPL-3.0.
needs_sdnq() {
    { printf '%s\n' "$@" "${DANQING_MODEL-}" "${DANQING_MODELS-}" "${MODEL_NAME-}" "${DANQING_PRECISION-}"
      grep -hE '^(export )?(DANQING_MODELS?|MODEL_NAME|DANQING_PRECISION) *=' .env apps/api/.env 2> /dev/null || true
    } | tr -cs 'A-Za-z0-9._-' '\n' | grep -iE 'sdnq|^(sample|z-image-turbo)-(uint4|int8)$' > /dev/null
}

needed=.venv/.installed
if needs_sdnq "$@"; then
    needed=.venv/.installed-sdnq
    [ -e "$needed" ] || echo "Installing the package sdnq too (GPL-3.0): a model that was asked for needs it" >&2
fi
make "$needed"
exec .venv/bin/danqing serve --host 0.0.0.0 --port 8004 --allow-public "$@"
