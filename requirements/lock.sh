#!/bin/sh
# Resolve the dependencies of pyproject.toml into requirements/dev.txt and requirements/runtime.txt, with hashes; and
# requirements/beside.txt, the other package `watchdog`, which the tests install beside ours.
#
#   sh requirements/lock.sh [--upgrade | --upgrade-package NAME]
#
# Releases younger than a week are not taken: a stolen package is usually found and withdrawn within days. uv is no
# dependency of the project: it lives in an environment that is thrown away.
set -eu

python=$(sh "$(dirname "$0")/python.sh")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
until=$("$python" -c 'import datetime as d; print(d.datetime.now(d.UTC).date() - d.timedelta(days=7))')

echo "uv             into a throwaway environment"
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --disable-pip-version-check --no-input install -qq uv

# compile OUTPUT SOURCE [OPTION ...]: what is locked already stays, unless --upgrade is given.
compile() {
    output=$1
    shift
    echo "$output: releases until $until"
    "$work/venv/bin/uv" pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --exclude-newer "$until" "$@" -o "$output" >/dev/null
    {
        printf '# Made by "make lock" out of releases until %s. Do not edit.\n' "$until"
        grep -v '^    #   -c ' "$output"
    } >"$work/lock"
    cat "$work/lock" >"$output"
}
compile requirements/dev.txt pyproject.toml --group dev "$@"
# The second lock is held to the first, so that what is tested is what is shipped.
compile requirements/runtime.txt pyproject.toml --constraints requirements/dev.txt "$@"
echo watchdog | compile requirements/beside.txt - --no-deps --no-annotate "$@"
