#!/usr/bin/env bash
# Installs what is needed and serves on http://0.0.0.0:8004, open to the network. Options go on to `danqing serve`.
set -euo pipefail
cd "$(dirname "$0")"

# Lines of the env files that set one of these variables.
env_lines() {
    grep -hE "^(export )?($1) *=" .env apps/api/.env 2> /dev/null || true
}

# The file with the entries of further models, without its comments.
models_file() {
    local file=${DANQING_MODELS_FILE-}
    [ -n "$file" ] || file=$(env_lines DANQING_MODELS_FILE | sed -nE "1s/^[^=]*= *[\"']?([^\"'#]*[^\"'# ]).*/\1/p")
    sed 's/#.*//' "${file:-models.toml}" 2> /dev/null || true
}

# Whether a model is asked for, or has an entry, whose weights need the package sdnq, which nobody gets who does not choose
# it: its licence is GPL-3.0.
needs_sdnq() {
    { printf '%s\n' "$@" "${DANQING_MODEL-}" "${DANQING_MODELS-}" "${MODEL_NAME-}" "${DANQING_PRECISION-}"
      env_lines 'DANQING_MODELS?|MODEL_NAME|DANQING_PRECISION'
      models_file
    } | tr -cs 'A-Za-z0-9._-' '\n' | grep -iE 'sdnq|^(sample|z-image-turbo)-(uint4|int8)$' > /dev/null
}

needed=.venv/.installed
if needs_sdnq "$@"; then
    needed=.venv/.installed-sdnq
    [ -e "$needed" ] || echo "Installing the package sdnq too (GPL-3.0): a model that was asked for needs it" >&2
fi
make "$needed"
exec .venv/bin/danqing serve --host 0.0.0.0 --port 8004 --allow-public "$@"
