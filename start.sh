#!/usr/bin/env bash
# Installs what is needed and serves on http://0.0.0.0:8004, open to the network. Options go on to `danqing serve`.
set -euo pipefail
cd "$(dirname "$0")"

# Lines of the env files that set one of these variables.
env_lines() {
    grep -hE "^(export )?($1) *=" .env apps/api/.env 2> /dev/null || true
}

# The ids of those models of the models file that have sdnq in their entries.
sdnq_entries() {
    local file=${DANQING_MODELS_FILE-}
    [ -n "$file" ] || file=$(env_lines DANQING_MODELS_FILE | sed -nE "1s/^[^=]*= *[\"']?([^\"'#]*[^\"'# ]).*/\1/p")
    awk '{ sub(/^[ \t]+/, "") }
        /^\[/ { table = $0; sub(/^\[[ \t]*/, "", table); sub(/[ \t]*\].*/, ".", table); next }
        tolower($0) ~ /^[^#]*sdnq/ {
            id = table $0
            sub(/^models[ \t]*\.[ \t]*/, "", id)
            if (id ~ /^["'\'']/) { split(id, parts, substr(id, 1, 1)); id = parts[2] } else sub(/[ \t.=].*/, "", id)
            if (id != "") print id
        }' "${file:-models.toml}" 2> /dev/null || true
}

# Whether a model is asked for whose weights need the package sdnq, which nobody gets who does not choose it: its licence
# is GPL-3.0.
needs_sdnq() {
    local asked
    asked=$({ printf '%s\n' "$@" "${DANQING_MODEL-}" "${DANQING_MODELS-}" "${MODEL_NAME-}" "${DANQING_PRECISION-}"
        env_lines 'DANQING_MODELS?|MODEL_NAME|DANQING_PRECISION'
    } | tr -cs 'A-Za-z0-9._-' '\n')
    grep -qiE 'sdnq|^(sample|z-image-turbo)-(uint4|int8)$' <<< "$asked" || grep -qxF -f <(sdnq_entries) <<< "$asked"
}

needed=.venv/.installed
if needs_sdnq "$@"; then
    needed=.venv/.installed-sdnq
    [ -e "$needed" ] || echo "Installing the package sdnq too (GPL-3.0): a model that was asked for needs it" >&2
fi
make "$needed"
exec .venv/bin/danqing serve --host 0.0.0.0 --port 8004 --allow-public "$@"
