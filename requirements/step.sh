#!/bin/sh
# Run one check: one line when it holds, its whole output and what to do when it does not.
#
#   sh requirements/step.sh NAME HINT COMMAND [ARGUMENT ...]
set -eu

name=$1
hint=$2
shift 2
start=$(date +%s)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
printf '%-14s ' "$name"
if "$@" >"$log" 2>&1 </dev/null; then
    printf 'ok  %s s\n' "$(($(date +%s) - start))"
else
    printf 'FAILED  %s s\n' "$(($(date +%s) - start))"
    cat "$log"
    printf '\nStopped at "%s". %s\n' "$name" "$hint" >&2
    exit 1
fi
